"""`pandadoc-proxy check`, `--version`, `--help`, and what is no command at all: said at once, nothing sent."""

import asyncio
import json
import re

import pytest
from commands.process import PROXY, ROOT, SCRIPT, Machine

from proxy import __version__
from proxy.config.schema import meanings, schema

COMMANDS = ("run", "check", "healthcheck", "simulator")


async def test_check_tells_what_would_be_sent_where_and_sends_nothing(machine: Machine) -> None:
    """The dry run names the variable a secret comes from, and shows no secret (the machine looks for it)."""
    ended = await machine.run("check", env=machine.with_api_key(), cwd=ROOT)
    assert (ended.code, ended.err) == (0, "")
    assert "Configuration: config.yaml" in ended.out
    assert f"GET {machine.simulator.url}/public/v1/documents" in ended.out
    assert "Authorization: API-Key *** (from $PANDADOC_API_KEY)" in ended.out
    assert machine.simulator.journal == []


async def test_check_tells_how_a_grant_would_be_kept_alive(machine: Machine) -> None:
    """Without a file too; neither the seed nor the client's secret is shown, and nothing is redeemed or stored."""
    ended = await machine.run("check", env=machine.with_grant())
    assert (ended.code, ended.err) == (0, "")
    assert "no file" in ended.out
    assert f"POST {machine.simulator.url}/oauth2/access_token" in ended.out
    assert "first refresh token from $PANDADOC_REFRESH_TOKEN" in ended.out
    assert machine.simulator.journal == []
    assert machine.stored() == []


async def test_check_refuses_what_run_would_refuse(machine: Machine) -> None:
    ended = await machine.run("check", env=machine.with_api_key() | {"PANDADOC_PROXY__LOG__LEVEL": "loud"})
    assert (ended.code, ended.out) == (2, "")
    assert "log.level" in ended.err


async def test_check_tells_every_fault_at_once_at_its_line_those_of_stores_too(machine: Machine) -> None:
    """Which only show when the parts are put together."""
    (machine.folder / "config.yaml").write_text("""\
credentials:
  a: {oauth2: {client_id: x, client_secret: {env: PANDADOC_API_KEY}}}
  b: {oauth2: {client_id: x, client_secret: {env: PANDADOC_API_KEY}}}
  c: {oauth2: {client_id: x, client_secret: {env: PANDADOC_API_KEY}}}
  d:
    oauth2:
      client_id: y
      client_secret: {env: PANDADOC_API_KEY}
      store: {redis: {url: 'http://nope'}}
listeners: [{credential: a}]
replay: {max_body: 1GiB}
rate_budget: {redis: {url: 'redis://cache'}}
""")
    env = {"PANDADOC_API_KEY": "k" * 40, "PANDADOC_PROXY__RATE_BUDGET__REDIS__URL": "ftp://cache"}
    ended = await machine.run("check", env=env)
    assert ended.code == 2
    assert [line.rsplit(": ", 1)[0].split(": credential ")[0] for line in ended.err.splitlines()] == [
        "config.yaml:3: credentials.b.oauth2.store",
        "config.yaml:4: credentials.c.oauth2.store",
        "config.yaml:9: credentials.d.oauth2.store.redis.url",
        "config.yaml:11: replay.max_body",
        "PANDADOC_PROXY__RATE_BUDGET__REDIS__URL: rate_budget.redis.url",
    ]


async def test_check_prints_the_schema_and_needs_no_configuration(machine: Machine) -> None:
    """Also where what is there is broken: editors ask while it is being written."""
    ended = await machine.run("check", "--schema", env={"PANDADOC_PROXY__LOG__LEVEL": "loud"})
    assert (ended.code, ended.err) == (0, "")
    assert json.loads(ended.out) == schema(meanings())


def redirected(how: str) -> tuple[str, ...]:
    return ("sh", "-c", f'exec "$@" {how}', "sh", *PROXY)


@pytest.mark.parametrize("asked", [(), ("--request", "GET /public/v1/documents")])
async def test_what_a_full_disk_does_not_take_is_said_elsewhere(machine: Machine, asked: tuple[str, ...]) -> None:
    ended = await machine.run("check", *asked, env=machine.with_api_key(), program=redirected(">/dev/full"))
    assert (ended.code, "/public/v1/documents" in ended.err) == (0, True)


async def test_a_schema_that_a_full_disk_does_not_take_is_told_as_not_written(machine: Machine) -> None:
    """It goes to a file, which is cut off then."""
    ended = await machine.run("check", "--schema", program=redirected(">/dev/full"))
    assert (ended.code, ended.err) == (1, "the schema can't be written: No space left on device")


@pytest.mark.parametrize("command", ["run", "check", "healthcheck", "wait"])
async def test_a_bad_configuration_is_exit_2_though_nobody_can_be_told(machine: Machine, command: str) -> None:
    env = machine.with_api_key() | {"PANDADOC_PROXY__LISTENERS__0__BIND": "nowhere"}
    assert (await machine.run(command, env=env, program=redirected(">/dev/full 2>&1"))).code == 2


async def test_the_version_is_told_by_the_module_and_by_the_installed_command(machine: Machine) -> None:
    module, script = await asyncio.gather(machine.run("--version"), machine.run("--version", program=(SCRIPT,)))
    assert module == script
    assert module.code == 0
    assert __version__ in module.out


async def test_help_names_every_command_and_is_there_for_each(machine: Machine) -> None:
    """Asking for help needs no configuration."""
    whole = await machine.run("--help")
    each = await asyncio.gather(*(machine.run(command, "--help") for command in COMMANDS))
    assert [ended.code for ended in (whole, *each)] == [0] * (1 + len(COMMANDS))
    for command, ended in zip(COMMANDS, each, strict=True):
        assert re.search(rf"(?m)^  {command} ", whole.out)
        assert command in ended.out


@pytest.mark.parametrize(
    "argv",
    [
        ("--colour",),
        ("run", "--port", "1"),
        ("walk",),
        ("simulator", "--port", "65536"),
        ("simulator", "--port", "-1"),
    ],
)
async def test_usage_that_is_none_is_exit_2(machine: Machine, argv: tuple[str, ...]) -> None:
    """Whatever the environment: an entrypoint with a typo must not look like a proxy that failed."""
    ended = await machine.run(*argv, env=machine.with_api_key())
    assert (ended.code, ended.out) == (2, "")
    assert "Usage:" in ended.err


REQUESTS = {
    "may be sent": ("POST /public/v1/documents", 0, "forwarded to"),
    "is refused": ("POST /public/v1/documents/x/send", 1, "403"),
    "is malformed": ("GET no-slash", 1, "400, whoever asks\n  The request is not valid HTTP/1.1."),
    "is refused to all": ("GET /a#b", 1, "400, whoever asks\n  The request's target must begin with /"),
}


@pytest.mark.parametrize(("request_line", "code", "said"), REQUESTS.values(), ids=REQUESTS)
async def test_check_explains_a_request_and_its_exit_code_tells_scripts(
    machine: Machine, request_line: str, code: int, said: str
) -> None:
    env = machine.with_api_key() | {"PANDADOC_PROXY__POLICY__PROFILES": "[no-send]"}
    ended = await machine.run("check", "--request", request_line, env=env)
    assert (ended.code, ended.err) == (code, "")
    assert said in ended.out
    assert machine.simulator.journal == []


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--request", "/public/v1/documents"), "a method in capitals and a path"),
        (("--request", "FOO /public/v1/documents"), "FOO is no method that is taken: it is answered with 400"),
        (("--client", "app"), "goes with --request"),
        (("--schema", "--request", "GET /x"), "--schema goes without --request and --client"),
        (("--schema", "--client", "app"), "--schema goes without --request and --client"),
        (("--request", "GET /x", "--client", "other"), "names one of: app"),
    ],
)
async def test_check_says_what_a_request_looks_like(machine: Machine, argv: tuple[str, ...], said: str) -> None:
    clients = {"PANDADOC_PROXY__LISTENERS__0__CLIENTS": "{app: {key: {value: app-0123456789abcdef}}}"}
    ended = await machine.run("check", *argv, env=machine.with_api_key() | clients)
    assert ended.code == 2
    assert said in ended.err
