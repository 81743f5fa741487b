"""The conversation of a login in the terminal.

Two ways lead back: the browser on this machine reaches the callback, or a person pastes the address on
which a browser anywhere has ended. Whichever comes first counts.
"""

import asyncio
import os
import secrets
import sys
import threading
import webbrowser
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from msgspec import Struct

from proxy.compose_credentials import CredentialParts
from proxy.config import MemoryStore, OAuth2Credential
from proxy.credential.advice import moment, span
from proxy.credential.store import StoreError
from proxy.listening import reason
from proxy.login import pages
from proxy.login.arrivals import Arrival, Arrivals
from proxy.login.callback import Callback
from proxy.login.consent import Declined, NotACode, consent_address, has_state, read_callback, read_pasted
from proxy.login.exchange import CodeRefused, Exchange, LoggedIn, LoginFailed
from proxy.secrets import Secret, SecretUnavailable, environ_for_others
from proxy.terminal import complain, tell

TERMINAL: Final = 0
"""Standard input."""

BOTH_WAYS: Final = """\
Waiting for the browser to come back to this machine. On another one, or if it shows an error at the end:
paste the address it ended on here and press Enter."""

PASTING_ALONE: Final = """\
Then paste the address on which the browser ended here, even if it shows an error, and press Enter."""

NO_PASTING: Final = """\
Nothing can be pasted here: there is no terminal (a container needs docker exec -it). A browser on this machine can
still come back; otherwise use --code."""

NOT_TAKEN: Final = """\
PandaDoc refuses that as a code (invalid_grant): it is not whole, was used already, is too old, or was given for another
client or redirect URI than {}."""

NOT_TRIED: Final = "That is not tried: PandaDoc has refused it before, or too much else that came without its address."

WAITS_ON: Final = "This login waits on. Paste the whole address on which the browser ended, as one line."

MOST_TRIED: Final = 10
"""Codes without the login's `state` that PandaDoc is asked about: a program may write into the terminal."""

NO_BROWSER: Final = "No browser seems to have opened here: open the address above in one."


class Options(Struct, frozen=True):
    """What the command line says. `code`: given, so that nobody is asked. `timeout`: seconds to wait for a person."""

    code: Secret | None
    browser: bool | None  # None: if there seems to be one
    timeout: float


async def log_in(parts: CredentialParts, name: str, credential: OAuth2Credential, options: Options) -> int:
    """Log in; return the exit code."""
    if isinstance(credential.store, MemoryStore):
        complain(
            f"Credential {name} keeps its grant in memory, where a login can't reach it: give it store: {{file: …}}"
        )
        return 1
    exchange = Exchange(
        name=name,
        secrets=parts.secrets(credential),
        endpoint=parts.endpoint(credential),
        probe=parts.prober(credential),
        store=parts.store(credential),
        redirect_uri=credential.redirect_uri.text,
        clock=parts.clock,
        say=complain,
        believed=credential.probe is not None,
        by=parts.replica(credential),
    )
    login = _Login(parts, credential, exchange)
    try:
        await exchange.prepare()
        if options.code is not None:
            ended = await login.conclude(read_pasted(options.code.reveal(), state=None))
            assert ended is not None  # noqa: S101 - nobody is there who could paste another
            return ended
        return await _ask_a_person(login, options)
    except (LoginFailed, Declined, NotACode, StoreError, SecretUnavailable) as fault:
        complain(str(fault))
        return 1


class _Login(Struct, frozen=True):
    """What the conversation is about."""

    parts: CredentialParts
    credential: OAuth2Credential
    exchange: Exchange

    async def conclude(
        self, code: Secret, show: Callable[[pages.Page], None] | None = None, *, bare: bool = False
    ) -> int | None:
        """Exchange `code`, and say how that went; return the exit code.

        `bare`: it may be no code at all; None: it is none that PandaDoc takes, and the login goes on. A person who
        leaves meanwhile changes nothing: a code that was sent is spent.
        """
        return await self.parts.finish(self._conclude(code, show, bare=bare), "login", complain)

    async def _conclude(self, code: Secret, show: Callable[[pages.Page], None] | None, *, bare: bool) -> int | None:
        show = show or (lambda _page: None)
        try:
            tidings = self._tidings(await self.exchange.finish(code))
        except (LoginFailed, SecretUnavailable) as fault:
            if bare and isinstance(fault, CodeRefused):
                complain(f"{NOT_TAKEN.format(self.exchange.redirect_uri)}\n{WAITS_ON}")
                return None
            show(pages.failed(str(fault)))  # first, for the terminal may be gone
            complain(str(fault))
            return 1
        show(pages.done(*tidings))
        tell("\n".join(tidings))
        return 0

    def _tidings(self, logged_in: LoggedIn) -> list[str]:
        grant, left = logged_in.grant, logged_in.grant.expires_at - self.parts.clock.wall()
        whom = f" as {logged_in.member}" if logged_in.member else ""
        proof = "" if logged_in.proven else " PandaDoc has accepted no token of it yet: it is unproven."
        until = "there is no access token yet"
        if grant.access_token is not None:
            until = f"its access token is good until {moment(grant.expires_at)}, for {span(left)}"
        return [
            f"Logged in to PandaDoc{whom}.{proof}",
            f"Credential {self.exchange.name} is at generation {grant.generation}; {until}.",
            self.parts.takes_over(self.credential),
        ]


async def _ask_a_person(login: _Login, options: Options) -> int:
    credential, state = login.credential, secrets.token_urlsafe(24)
    client_id = (await login.exchange.secrets.client()).client_id
    address = consent_address(
        credential.authorize_url, client_id.reveal(), login.exchange.redirect_uri, credential.scope, state
    )
    arrivals = Arrivals(state)
    callback = Callback(credential.redirect_uri.url, arrivals)
    async with _callback(callback) as listening:
        tell(f"Open this address in a browser, log in to PandaDoc as the user to act as, and agree:\n\n  {address}\n")
        tell(BOTH_WAYS if listening else PASTING_ALONE)
        arrivals.listen(TERMINAL)
        if options.browser or (options.browser is None and _has_browser()):
            _open_browser(callback.lead(address) if listening else address)
        return await _wait(login, arrivals, state, options.timeout, listening=listening)


async def _wait(login: _Login, arrivals: Arrivals, state: str, seconds: float, *, listening: bool) -> int:
    """Wait for what ends the login; return the exit code. Raises LoginFailed if nothing does in time."""
    ends = asyncio.get_running_loop().time() + seconds
    refused: set[str] = set()  # fingerprints of what came without the login's `state`
    while True:
        try:
            async with asyncio.timeout_at(ends):
                arrival, code = await _next_code(arrivals, state, listening=listening, refused=bool(refused))
        except TimeoutError:
            raise LoginFailed(f"Nobody consented within {span(seconds)}. Log in again.") from None
        bare = arrival.pasted and not has_state(arrival.text, state)  # a browser is not believed without it
        if bare and (code.fingerprint() in refused or len(refused) >= MOST_TRIED):
            complain(f"{NOT_TRIED}\n{WAITS_ON}")
            continue

        def show(page: pages.Page, arrival: Arrival = arrival) -> None:
            arrival.show(page)
            arrivals.end(page)

        ended = await login.conclude(code, show, bare=bare)
        if ended is not None:
            return ended
        refused.add(code.fingerprint())


async def _next_code(arrivals: Arrivals, state: str, *, listening: bool, refused: bool) -> tuple[Arrival, Secret]:
    """Judge what arrives until one may be the code of this login. `refused`: another was."""
    while True:
        arrival = await arrivals.next()
        if arrival is None:
            if refused:
                raise LoginFailed("Nothing more is to be read from here. Log in again, or use --code.")
            if not listening:
                raise LoginFailed("There is nothing to read from here, and no browser can come back. Use --code.")
            complain(NO_PASTING)
            continue
        try:
            return arrival, read_pasted(arrival.text, state) if arrival.pasted else read_callback(arrival.text)
        except NotACode as flaw:
            if arrival.pasted:
                complain(str(flaw))
            arrival.show(pages.failed(str(flaw)))
        except Declined as flaw:
            arrival.show(pages.failed(str(flaw), "Nothing that is stored was changed."))
            raise


@asynccontextmanager
async def _callback(callback: Callback) -> AsyncIterator[bool]:
    """Listen at the redirect URI if that is here; tell whether a browser can come back."""
    listening = callback.possible
    if listening:
        try:
            await callback.start()
        except OSError as fault:
            listening = False
            complain(f"can't listen at the redirect URI ({reason(fault)}): paste instead.")
    try:
        yield listening
    finally:
        await callback.stop()


def _open_browser(address: str) -> None:
    """Open one without waiting: a text browser, or what BROWSER names, may go on for as long as it likes.

    Every user of this machine can read `address` then: where we listen, a `state` in it would let them end the login.
    """
    loop = asyncio.get_running_loop()
    for name in os.environ.keys() - environ_for_others(os.environ).keys():  # it can be given no other
        del os.environ[name]  # what the configuration reads secrets from is a copy

    def work() -> None:
        opened = False
        with suppress(webbrowser.Error, ValueError, OSError):  # ValueError: BROWSER has a quote that does not end
            opened = webbrowser.open(address)
        if not opened:
            with suppress(RuntimeError):  # the login is over, and its loop closed
                loop.call_soon_threadsafe(complain, NO_BROWSER)

    threading.Thread(target=work, name="browser", daemon=True).start()


def _has_browser() -> bool:
    """Tell whether a window can be opened here for the person who reads this."""
    return sys.stdout.isatty() and (
        sys.platform == "darwin" or bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())
    )
