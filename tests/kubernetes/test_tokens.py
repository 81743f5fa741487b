"""What a caller shows of itself: which token is shown on, and which is not."""

import sys
from pathlib import Path

import pytest
from rig import TurnedClock

from proxy.kubernetes.exec_plugin import ExecPlugin, Plugin, Variable
from proxy.kubernetes.faults import Unreachable
from proxy.kubernetes.tokens import FRESH, TokenFile
from proxy.secret_reader import SecretReader
from proxy.secrets import Secret, SecretReference

PROGRAM = """
import json, sys
print("run", file=open(sys.argv[1], "a"))
runs = len(open(sys.argv[1]).readlines())
print(json.dumps({"kind": "ExecCredential", "status": {"token": f"token-{runs}"}}))
"""


def token_file(path: Path, clock: TurnedClock) -> TokenFile:
    return TokenFile(SecretReference.file(path), SecretReader(), clock.monotonic)


async def test_a_late_refusal_of_a_files_token_throws_no_newer_one_away(tmp_path: Path) -> None:
    path, old, new = tmp_path / "token", Secret("old"), Secret("new")
    tokens = token_file(path, TurnedClock())
    path.write_text("old")
    assert await tokens.current() == old
    path.write_text("new")
    tokens.refused(old)
    assert await tokens.current() == new
    path.write_text("not read yet")
    tokens.refused(old)
    assert await tokens.current() == new


async def test_a_token_that_was_not_refused_is_shown_on_while_its_file_can_not_be_read(tmp_path: Path) -> None:
    """It is good for minutes yet; the file is tried again at each call."""
    path, clock = tmp_path / "token", TurnedClock()
    tokens = token_file(path, clock)
    path.write_text("old")
    old = await tokens.current()
    path.unlink()
    clock.pass_(FRESH)
    assert await tokens.current() == old
    path.write_text("new")
    assert await tokens.current() == Secret("new")
    path.unlink()
    tokens.refused(Secret("new"))
    with pytest.raises(Unreachable, match="The token for the Kubernetes API can't be read"):
        await tokens.current()


async def test_a_late_refusal_of_a_programs_token_does_not_ask_it_again(tmp_path: Path) -> None:
    """It may ask a person."""
    plugin = ExecPlugin(Plugin(command=sys.executable, args=["-c", PROGRAM, str(tmp_path / "runs")]))
    old = await plugin.current()
    plugin.refused(old)
    assert await plugin.current() == Secret("token-2")
    plugin.refused(old)
    assert await plugin.current() == Secret("token-2")


TELLS = """
import json, os
told = "_".join(sorted(name for name in os.environ if name.startswith(("PANDADOC_", "OF_OTHERS"))))
print(json.dumps({"kind": "ExecCredential", "status": {"token": told}}))
"""


async def test_a_program_is_given_none_of_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it needs of the rest (PATH, HOME, AWS_…) it has, and what the kubeconfig says, whatever that is."""
    for name in ("PANDADOC_CLIENT_SECRET", "PANDADOC_PROXY__UPSTREAM", "OF_OTHERS"):
        monkeypatch.setenv(name, "text")
    own = [Variable("PANDADOC_OF_THE_KUBECONFIG", "text")]
    plugin = ExecPlugin(Plugin(command=sys.executable, args=["-c", TELLS], env=own))
    assert await plugin.current() == Secret("OF_OTHERS_PANDADOC_OF_THE_KUBECONFIG")
