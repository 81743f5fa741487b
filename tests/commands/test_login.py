"""`pandadoc-proxy login`: a real command, a real consent page, and whoever plays the browser."""

import asyncio
import re
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
from aiohttp import ClientSession
from commands.process import MEMBER, PROXY, Machine, Process, poll, status_of
from rig import until
from wire import caller
from yarl import URL

from proxy.login.command import MOST_TRIED
from proxy.simulator import Fault
from proxy.simulator.journal import TOKEN_PATH

ADDRESS = re.compile(r"http://\S+/oauth2/authorize\?\S+")


def configuration(machine: Machine, redirect_uri: str, **oauth2: object) -> Path:
    """Write a configuration without any refresh token; return its path."""
    more = "".join(f"\n      {key}: {value}" for key, value in oauth2.items())
    path = machine.folder / "config.yaml"
    path.write_text(f"""\
listeners: [{{bind: "127.0.0.1:0"}}]
admin: null
upstream: {machine.simulator.url}
credentials:
  default:
    oauth2:
      client_id: {machine.simulator.client_id}
      client_secret: {{env: PANDADOC_CLIENT_SECRET}}
      redirect_uri: {redirect_uri}
      store: {{file: grant.json}}{more}
""")
    return path


def env(machine: Machine) -> Mapping[str, str]:
    return {"PANDADOC_CLIENT_SECRET": machine.simulator.client_secret}


async def address_of(process: Process) -> URL:
    """Return the address that the command asks a person to open."""
    await until(lambda: any(ADDRESS.search(line) for line in process.out))
    found = next(match for line in process.out if (match := ADDRESS.search(line)))
    return URL(found[0], encoded=True)


async def consent(app: ClientSession, address: URL, decision: str = "allow") -> URL:
    """Agree as a person would; return where PandaDoc sends the browser."""
    async with app.get(address) as page:
        assert page.status == 200
    async with app.post(address, data={"decision": decision}, allow_redirects=False) as answer:
        assert answer.status == 302
        return URL(answer.headers["Location"], encoded=True)


@pytest.fixture
def back(unused_tcp_port: int) -> str:
    return f"http://127.0.0.1:{unused_tcp_port}/callback"


async def test_a_consent_in_a_browser_heals_a_running_proxy_within_five_seconds(
    machine: Machine, app: ClientSession, back: str
) -> None:
    """No restart, no refresh token in anybody's hands, and the browser is told how it went."""
    configuration(machine, back)
    proxy = await machine.start(env=env(machine))
    url = await proxy.url()
    async with app.get(url + MEMBER) as dead:
        assert dead.status == 503
        assert "Retry-After" not in dead.headers
        assert "Run `pandadoc-proxy login`" in (await dead.json(content_type=None))["detail"]
    login = await machine.start("login", "--no-browser", env=env(machine), stdin=asyncio.subprocess.PIPE)
    returned = await consent(app, await address_of(login))
    async with app.get(returned) as page:
        assert page.status == 200
        assert page.headers["Referrer-Policy"] == "no-referrer"
        shown = await page.text()
    assert "Logged in to PandaDoc as Simulated Member &lt;member@example.com&gt;, workspace Simulator." in shown
    assert await login.ended() == 0
    assert any("its access token is good until" in line for line in login.out)

    async def healed() -> bool:
        return await status_of(app, url + MEMBER) == 200

    await poll(healed, seconds=5)
    proxy.signal(signal.SIGTERM)
    assert await proxy.ended() == 0


async def test_an_address_may_be_pasted_from_another_machine(machine: Machine, app: ClientSession) -> None:
    """The browser there ends on an error page, for nothing listens at its loopback; its address has the code."""
    configuration(machine, "https://app.example/callback")
    login = await machine.start("login", env=env(machine), stdin=asyncio.subprocess.PIPE)
    returned = await consent(app, await address_of(login))
    await login.type("that did not work")
    await login.said("There is no code in this")
    await login.type(str(returned.update_query(state="another")))
    await login.said("another login")
    await login.type(str(returned))
    assert await login.ended() == 0
    assert any("as Simulated Member" in line for line in login.out)


async def test_a_line_that_is_not_the_code_costs_no_login(machine: Machine, app: ClientSession, back: str) -> None:
    """A word that was meant for the shell, or an address that a mail has wrapped: the browser still comes back."""
    configuration(machine, back)
    login = await machine.start("login", "--no-browser", env=env(machine), stdin=asyncio.subprocess.PIPE)
    returned = await consent(app, await address_of(login))
    code, address = returned.query["code"], str(returned)
    machine.secrets.add(code)
    cut = address.index(code) + len(code) // 2

    async def is_told(line: str, words: str, times: int) -> None:
        await login.type(line)
        await until(lambda: "\n".join(login.err).count(words) == times)

    await is_told("exit", "This login waits on", 1)
    assert f"redirect URI than {back}" in "\n".join(login.err)
    await is_told(address[:cut], "This login waits on", 2)
    await is_told(address[cut:], "There is no code in this", 1)
    await is_told("exit", "That is not tried: PandaDoc has refused it before", 1)
    assert [call.status for call in machine.simulator.token_calls()] == [400, 400]
    async with app.get(returned) as page:
        assert page.status == 200
    assert await login.ended() == 0


async def test_a_login_whose_only_word_was_no_code_ends_with_what_it_could_read(machine: Machine, back: str) -> None:
    """A script's, say: it would wait for a browser until its time is over."""
    configuration(machine, back)
    program = ("sh", "-c", 'echo exit | "$@"', "sh", *map(str, PROXY))
    ended = await machine.run("login", "--no-browser", env=env(machine), program=program)
    assert ended.code == 1
    assert "refuses that as a code" in ended.err
    assert "Nothing more is to be read from here" in ended.err


async def test_a_program_that_writes_into_a_login_has_only_so_many_words_tried(
    machine: Machine, app: ClientSession
) -> None:
    configuration(machine, "https://app.example/callback")
    login = await machine.start("login", env=env(machine), stdin=asyncio.subprocess.PIPE)
    returned = await consent(app, await address_of(login))
    for number in range(MOST_TRIED + 3):
        await login.type(f"word-{number}")
    await login.said("That is not tried")
    await login.type(str(returned))
    assert await login.ended() == 0
    assert len(machine.simulator.token_calls()) == MOST_TRIED + 1


async def test_a_code_that_comes_with_the_logins_state_and_is_refused_ends_it(
    machine: Machine, app: ClientSession, back: str
) -> None:
    """No other will come from that consent."""
    configuration(machine, back)
    for pasted in (True, False):
        login = await machine.start("login", "--no-browser", env=env(machine), stdin=asyncio.subprocess.PIPE)
        returned = (await consent(app, await address_of(login))).update_query(code="spent-long-ago")
        if pasted:
            await login.type(str(returned))
        else:
            async with app.get(returned) as page:
                assert page.status == 400
                assert "refuses the code" in await page.text()
        assert await login.ended() == 1
        assert any("refuses the code (invalid_grant): it was used already" in line for line in login.err)


async def test_a_script_may_bring_the_code(machine: Machine, back: str) -> None:
    configuration(machine, back)
    machine.secrets.add(code := machine.simulator.issue_code())
    assert (await machine.run("login", "--code", code, env=env(machine))).code == 0
    again = await machine.run("login", "--code", code, env=env(machine))
    assert again.code == 1
    assert "refuses the code (invalid_grant): it was used already" in again.err
    for mark in ("", "\ufeff"):  # which some editors and shells begin a text with
        process = await machine.start("login", "--code", "-", env=env(machine), stdin=asyncio.subprocess.PIPE)
        await process.type(mark + machine.simulator.issue_code())
        assert await process.ended() == 0


async def test_a_line_that_is_no_text_is_told_as_no_code(machine: Machine, back: str) -> None:
    configuration(machine, back)
    program = ("sh", "-c", r"""printf '\377\376c\000o\000' | exec "$@" """, "sh", *map(str, PROXY))
    ended = await machine.run("login", "--code", "-", env=env(machine), program=program)
    assert ended.code == 1
    assert ended.err.startswith("There is no code in this")


@pytest.mark.parametrize("code", ["", "-"])
async def test_a_script_that_brings_no_code_is_told_so(machine: Machine, back: str, code: str) -> None:
    """Its variable was empty, or what it reads from: nobody is there to be asked."""
    configuration(machine, back)
    ended = await machine.run("login", "--code", code, env=env(machine))
    assert ended.code == 1
    assert "There is no code in this" in ended.err
    assert not ended.out


async def test_a_code_is_spent_though_nobody_can_be_told(machine: Machine, back: str) -> None:
    """It can be brought once: an exit code that says failure would have a script ask a person again."""
    configuration(machine, back)
    full = ("sh", "-c", 'exec "$@" >/dev/full', "sh", *map(str, PROXY))
    ended = await machine.run("login", "--code", machine.simulator.issue_code(), env=env(machine), program=full)
    assert ended.code == 0
    assert ended.err.startswith("Logged in to PandaDoc as Simulated Member")


async def test_a_person_is_asked_on_standard_error_where_the_output_takes_nothing(
    machine: Machine, app: ClientSession, back: str
) -> None:
    configuration(machine, back)
    full = ("sh", "-c", 'exec "$@" >/dev/full', "sh", *map(str, PROXY))
    login = await machine.start("login", env=env(machine), stdin=asyncio.subprocess.PIPE, program=full)
    await login.said("Waiting for the browser")
    address = next(match[0] for line in login.err if (match := ADDRESS.search(line)))
    async with app.get(await consent(app, URL(address, encoded=True))) as page:
        assert page.status == 200
    assert await login.ended() == 0


async def test_without_standard_input_there_is_no_code_to_read(machine: Machine, back: str) -> None:
    configuration(machine, back)
    closed = ("sh", "-c", 'exec "$@" <&-', "sh", *map(str, PROXY))
    ended = await machine.run("login", "--code", "-", env=env(machine), program=closed)
    assert ended.code == 1
    assert "There is no code in this" in ended.err


async def test_where_nothing_can_be_pasted_it_is_said_and_the_browser_is_waited_for(
    machine: Machine, app: ClientSession, back: str
) -> None:
    configuration(machine, back)
    login = await machine.start("login", "--no-browser", env=env(machine))
    await login.said("Nothing can be pasted here", "docker exec -it")
    async with app.get(await consent(app, await address_of(login))) as page:
        assert page.status == 200
    assert await login.ended() == 0
    assert len(login.err) == 2


async def test_a_wrong_state_is_refused_and_the_login_waits_on(machine: Machine, app: ClientSession, back: str) -> None:
    """A page of somebody else's sends the browser to the callback with a code of its own account."""
    configuration(machine, back)
    login = await machine.start("login", "--no-browser", env=env(machine), stdin=asyncio.subprocess.PIPE)
    address = await address_of(login)
    for query in ({"code": machine.simulator.issue_code(), "state": "guessed"}, {"error": "access_denied"}):
        async with app.get(URL(back).with_query(query)) as page:
            assert page.status == 400
            assert "Not logged in" in await page.text()
    assert login.running
    async with app.get(await consent(app, address)) as page:
        assert page.status == 200
    assert await login.ended() == 0


async def test_a_declined_consent_changes_nothing(machine: Machine, app: ClientSession, back: str) -> None:
    configuration(machine, back)
    await machine.run("login", "--code", machine.simulator.issue_code(), env=env(machine))
    before = (machine.folder / "grant.json").read_bytes()
    login = await machine.start("login", "--no-browser", env=env(machine), stdin=asyncio.subprocess.PIPE)
    async with app.get(await consent(app, await address_of(login), "deny")) as page:
        assert page.status == 400
        assert "declined" in await page.text()
    assert await login.ended() == 1
    assert (machine.folder / "grant.json").read_bytes() == before


async def test_a_browser_that_was_closed_is_waited_for_no_longer_than_said(machine: Machine, back: str) -> None:
    configuration(machine, back)
    process = await machine.start("login", "--timeout", "1", env=env(machine), stdin=asyncio.subprocess.PIPE)
    assert await process.ended() == 1
    assert any("Nobody consented within 1 seconds" in line for line in process.err)


async def test_a_busy_callback_port_leaves_the_pasting(machine: Machine, app: ClientSession) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        configuration(machine, f"http://127.0.0.1:{holder.getsockname()[1]}/callback")
        login = await machine.start("login", env=env(machine), stdin=asyncio.subprocess.PIPE)
        await login.said("Address already in use", "paste instead")
        await login.type(str(await consent(app, await address_of(login))))
        assert await login.ended() == 0


async def test_without_a_terminal_and_a_callback_there_is_nothing_to_wait_for(machine: Machine) -> None:
    configuration(machine, "https://app.example/callback")
    ended = await machine.run("login", env=env(machine))
    assert ended.code == 1
    assert "Use --code." in ended.err


async def test_a_redirect_uri_that_is_not_the_registered_one_is_named(machine: Machine, back: str) -> None:
    """The code was given for another one: PandaDoc says invalid_grant, and we say what to compare."""
    configuration(machine, back)
    machine.simulator.redirect_uri = "http://127.0.0.1:1/registered"
    async with aiohttp.ClientSession() as browser:
        query = {"client_id": machine.simulator.client_id, "redirect_uri": "http://127.0.0.1:1/registered"}
        address = URL(machine.simulator.url) / "oauth2/authorize"
        returned = await consent(browser, address.with_query({**query, "response_type": "code"}))
    machine.secrets.add(returned.query["code"])
    ended = await machine.run("login", "--code", str(returned), env=env(machine))
    assert ended.code == 1
    assert f"redirect URI than {back}" in ended.err


async def test_a_wrong_client_is_named(machine: Machine, back: str) -> None:
    configuration(machine, back)
    wrong = {"PANDADOC_CLIENT_SECRET": "wrong-secret"}
    ended = await machine.run("login", "--code", machine.simulator.issue_code(), env=wrong)
    assert ended.code == 1
    assert "does not know this OAuth client (invalid_client)" in ended.err
    assert "secret ($PANDADOC_CLIENT_SECRET)" in ended.err


async def test_a_token_that_the_api_refuses_is_not_stored(machine: Machine, back: str) -> None:
    """Token endpoint and API of two regions: the grant that is there must not be lost to such a mistake."""
    configuration(machine, back)
    await machine.run("login", "--code", machine.simulator.issue_code(), env=env(machine))
    before = (machine.folder / "grant.json").read_bytes()
    machine.simulator.faults.add(Fault(path=MEMBER, status=401))
    ended = await machine.run("login", "--code", machine.simulator.issue_code(), env=env(machine))
    assert ended.code == 1
    assert "of another region" in ended.err
    assert (machine.folder / "grant.json").read_bytes() == before


async def test_an_api_that_does_not_answer_costs_no_consent(machine: Machine, back: str) -> None:
    configuration(machine, back)
    machine.simulator.faults.add(Fault(path=MEMBER, status=503))
    ended = await machine.run("login", "--code", machine.simulator.issue_code(), env=env(machine))
    assert ended.code == 0
    assert "it is unproven" in ended.out


async def test_where_no_probe_is_wanted_a_401_is_no_veto(machine: Machine, back: str) -> None:
    """It is switched off where PandaDoc, or what stands before it, refuses that question to good tokens too."""
    configuration(machine, back, probe="null")
    machine.simulator.faults.add(Fault(path=MEMBER, status=401))
    ended = await machine.run("login", "--code", machine.simulator.issue_code(), env=env(machine))
    assert ended.code == 0
    assert "it is unproven" in ended.out


async def test_a_proof_that_is_given_up_costs_no_consent(machine: Machine, back: str) -> None:
    """Ctrl-C while PandaDoc does not answer: the code is spent, so what was begun is finished first."""
    configuration(machine, back)
    gate = asyncio.Event()
    machine.simulator.faults.add(Fault(path=MEMBER, gate=gate))
    login = await machine.start("login", "--code", machine.simulator.issue_code(), env=env(machine))
    await until(lambda: len(machine.simulator.api_calls()) == 1)
    login.signal(signal.SIGINT)
    await login.said("Interrupted: what was begun is finished first")
    gate.set()
    assert await login.ended() == 1
    assert any("Credential default is at generation 1" in line for line in login.out)
    status = await machine.run("token", "status", env=env(machine))
    assert "generation         1" in status.out
    assert status.code == 0


async def test_nobody_is_asked_before_the_store_is_proven(machine: Machine, back: str) -> None:
    configuration(machine, back)
    (machine.folder / "grant.json").write_text("somebody else's")
    ended = await machine.run("login", env=env(machine))
    assert ended.code == 1
    assert "left as it is" in ended.err
    assert "Open this address" not in ended.out


async def test_a_grant_in_memory_is_out_of_a_logins_reach(machine: Machine, back: str) -> None:
    path = configuration(machine, back)
    path.write_text(path.read_text().replace("{file: grant.json}", "{memory: true}"))
    ended = await machine.run("login", env=env(machine))
    assert ended.code == 1
    assert "give it store: {file: …}" in ended.err


async def test_the_credential_must_be_clear(machine: Machine, back: str) -> None:
    path = configuration(machine, back)
    path.write_text(
        path.read_text()
        + "  other: {oauth2: {client_id: x, client_secret: {env: PANDADOC_CLIENT_SECRET}}}\n"
        + "  key: {api_key: {env: PANDADOC_CLIENT_SECRET}}\n"
    )
    unclear = await machine.run("login", env=env(machine))
    assert unclear.code == 2
    assert "choose one with --credential: default, other" in unclear.err
    told = await machine.run("token", "status", env=env(machine))
    assert "Run `pandadoc-proxy login --credential default`" in told.out
    wrong = await machine.run("login", "--credential", "third", env=env(machine))
    assert wrong.code == 2
    assert "there is no such credential" in wrong.err
    key = await machine.run("login", "--credential", "key", env=env(machine))
    assert key.code == 2
    assert "key is an API key; choose one with --credential: default, other" in key.err
    none = await machine.run("login", env={"PANDADOC_API_KEY": "k" * 40}, cwd=machine.home)
    assert none.code == 2
    assert "has no OAuth credential" in none.err


async def test_a_login_wins_over_what_is_stored_and_generations_go_on(
    machine: Machine, app: ClientSession, back: str
) -> None:
    """Under load, in a running proxy: requests notice nothing."""
    configuration(machine, back)
    for _ in range(2):
        await machine.run("login", "--code", machine.simulator.issue_code(), env=env(machine))
    proxy = await machine.start(env=env(machine))
    url = await proxy.url()
    seen: list[int] = []
    stop = asyncio.Event()

    async def load() -> None:
        while not stop.is_set():
            seen.append(await status_of(app, url + MEMBER))
            await asyncio.sleep(0.01)

    loads = [asyncio.create_task(load()) for _ in range(4)]
    await until(lambda: len(seen) > 20)
    await machine.run("login", "--code", machine.simulator.issue_code(), env=env(machine))
    await until(lambda: any(line["generation"] == 3 for line in proxy.access))
    stop.set()
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*loads)
    assert set(seen) == {200}
    assert len({call.authorization for call in machine.simulator.api_calls()}) >= 2


async def test_a_login_ends_what_a_configured_seed_would_begin(machine: Machine, app: ClientSession, back: str) -> None:
    """The seed was never redeemed, and is older than the consent: the next start must not put it in its place."""
    configuration(machine, back, refresh_token="{env: PANDADOC_REFRESH_TOKEN}")
    seeded = {**env(machine), "PANDADOC_REFRESH_TOKEN": machine.simulator.issue_refresh_token()}
    assert (await machine.run("login", "--code", machine.simulator.issue_code(), env=seeded)).code == 0
    proxy = await machine.start(env=seeded)
    assert await status_of(app, await proxy.url() + MEMBER) == 200
    proxy.signal(signal.SIGTERM)
    assert await proxy.ended() == 0
    assert len(machine.simulator.token_calls()) == 1


async def test_an_address_of_an_earlier_run_may_be_brought_by_hand(machine: Machine, app: ClientSession) -> None:
    """The login has timed out meanwhile; its `state` is known to nobody any more, and a person vouches for it."""
    configuration(machine, "https://app.example/callback")
    login = await machine.start("login", "--timeout", "1", env=env(machine), stdin=asyncio.subprocess.PIPE)
    returned = await consent(app, await address_of(login))
    assert await login.ended() == 1
    machine.secrets.add(returned.query["code"])
    ended = await machine.run("login", "--code", str(returned), env=env(machine))
    assert ended.code == 0
    assert f"Kept in {machine.folder / 'grant.json'}." in ended.out.replace(
        "Kept in grant", f"Kept in {machine.folder}/grant"
    )


async def test_a_browser_that_never_ends_keeps_nobody_waiting(machine: Machine, app: ClientSession, back: str) -> None:
    """A text browser, or whatever BROWSER names."""
    configuration(machine, back)
    slow = machine.folder / "slow-browser"
    slow.write_text("#!/bin/sh\nexec >/dev/null 2>&1\nsleep 5\n")
    slow.chmod(0o700)
    with_browser = {**env(machine), "BROWSER": f"{slow} %s"}
    login = await machine.start("login", "--browser", env=with_browser, stdin=asyncio.subprocess.PIPE)
    async with app.get(await consent(app, await address_of(login))) as page:
        assert page.status == 200
    assert await login.ended(3) == 0


@pytest.mark.parametrize("listens", [True, False])
async def test_a_browsers_command_line_has_no_state_that_would_end_the_login(
    machine: Machine, app: ClientSession, back: str, *, listens: bool
) -> None:
    """Every user of the machine can read it. Where nothing listens there is nobody to bring a state to."""
    configuration(machine, back if listens else "https://app.example/callback")
    browser, started = machine.folder / "browser", machine.folder / "started"
    browser.write_text(f'#!/bin/sh\nexec >/dev/null 2>&1\necho "$@" >{started}.new\nmv {started}.new {started}\n')
    browser.chmod(0o700)
    with_browser = {**env(machine), "BROWSER": f"{browser} %s"}
    login = await machine.start("login", "--browser", env=with_browser, stdin=asyncio.subprocess.PIPE)
    printed = await address_of(login)
    await until(started.exists)
    given = URL(started.read_text().strip(), encoded=True)
    if not listens:
        assert given == printed
        return
    assert given.origin() == URL(back).origin()
    assert not given.query
    async with app.get(given, allow_redirects=False) as led:
        assert led.status == 302
        assert led.headers["Location"] == str(printed)
    async with app.get(given, allow_redirects=False) as again:
        assert again.status == 410
    async with app.get(await consent(app, printed)) as page:
        assert page.status == 200
    assert await login.ended() == 0


async def test_a_browser_is_given_none_of_our_secrets(machine: Machine, app: ClientSession, back: str) -> None:
    """Whoever runs as the same user can read its environment; and the login goes on with them."""
    configuration(machine, back)
    browser, told = machine.folder / "browser", machine.folder / "told"
    browser.write_text(f"#!/bin/sh\nenv > {told}.part && mv {told}.part {told}\n")
    browser.chmod(0o700)
    given = {**env(machine), "BROWSER": f"{browser} %s", "PANDADOC_OF_OURS": "kept", "OF_OTHERS": "given"}
    login = await machine.start("login", "--browser", env=given, stdin=asyncio.subprocess.PIPE)
    address = await address_of(login)
    await until(told.exists)
    assert "OF_OTHERS=given" in told.read_text()
    assert "PANDADOC_" not in told.read_text()
    async with app.get(await consent(app, address)) as page:
        assert page.status == 200
    assert await login.ended() == 0


@pytest.mark.parametrize("choice", ["", "unclosed '%s"])
async def test_where_no_browser_can_be_opened_it_is_said(machine: Machine, back: str, choice: str) -> None:
    configuration(machine, back)
    without = {**env(machine), "PATH": str(machine.home), "BROWSER": choice}
    login = await machine.start("login", "--browser", env=without, stdin=asyncio.subprocess.PIPE)
    await login.said("No browser seems to have opened here: open the address above in one.")
    assert login.running


async def test_a_browser_that_leaves_before_its_page_costs_no_consent(
    machine: Machine, app: ClientSession, back: str
) -> None:
    """It is closed while the code is being exchanged."""
    configuration(machine, back)
    login = await machine.start("login", "--no-browser", env=env(machine), stdin=asyncio.subprocess.PIPE)
    returned = await consent(app, await address_of(login))
    gate = asyncio.Event()
    machine.simulator.faults.add(Fault(path=TOKEN_PATH, gate=gate, times=1))
    machine.secrets.add(returned.query["code"])
    async with caller(returned.port or 0) as browser:
        await browser.send(f"GET {returned.raw_path_qs} HTTP/1.1\r\nHost: {returned.authority}\r\n\r\n".encode())
        await until(lambda: len(machine.simulator.token_calls()) == 1)
    gate.set()
    assert await login.ended() == 0
    assert any("Logged in to PandaDoc as Simulated Member" in line for line in login.out)
