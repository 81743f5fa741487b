"""An unmodified PHP app that fetches its own token works on the placeholder, with no secret of PandaDoc's."""

import json
import shutil
from pathlib import Path
from typing import Final

from commands.process import Machine

APP: Final = Path(__file__).with_name("token_then_call.php")
KEY: Final = "php-app-0123456789abcdef"


async def php(machine: Machine, url: str, key: str) -> dict[str, object]:
    """Run the app, with nothing of the proxy's environment; return what it told."""
    interpreter = shutil.which("php")
    assert interpreter, "install Debian's package php-cli"
    ended = await machine.run(str(APP), program=(interpreter,), env={"BASE_URL": url, "APP_KEY": key})
    assert (ended.code, ended.err) == (0, "")
    told: dict[str, object] = json.loads(ended.out)
    return told


async def test_a_php_app_fetches_a_token_and_calls_with_what_it_was_given(machine: Machine) -> None:
    env = machine.with_api_key() | {
        "PANDADOC_PROXY__LISTENERS__0__TOKEN_ENDPOINT": "placeholder",
        "PANDADOC_PROXY__LISTENERS__0__CLIENTS": "{php: {key: {env: APP_KEY}}}",
        "APP_KEY": KEY,
    }
    machine.secrets.add(KEY)
    proxy = await machine.start(env=env)
    url = await proxy.url()
    shape = ["access_token", "token_type", "expires_in", "scope", "refresh_token"]
    assert await php(machine, url, KEY) == {
        "token": [200, shape],
        "documents": 200,
        "created": [201, "document.uploaded"],
        "refreshed": 200,
        "member": 200,
    }
    refused = await php(machine, url, "not-a-key-0123456789")
    assert refused == {
        "token": [400, ["error"]],
        "documents": 403,
        "created": [403, refused["created"][1]],  # type: ignore[index]
        "refreshed": 400,
        "member": 403,
    }
    assert not machine.simulator.token_calls()
    assert {call.authorization for call in machine.simulator.api_calls()} == {(f"API-Key {env['PANDADOC_API_KEY']}",)}
