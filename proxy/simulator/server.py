"""The simulator's parts wired together, its start and its end, and the switches in Python."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from aiohttp import web
from yarl import URL

from proxy.hosts import is_wildcard
from proxy.listening import addresses_of, sockets_at
from proxy.simulator import control
from proxy.simulator.answers import Answer
from proxy.simulator.api import Api
from proxy.simulator.connection import Server
from proxy.simulator.consent import Consent
from proxy.simulator.documents import Documents
from proxy.simulator.exchange import Exchange
from proxy.simulator.faults import Faults
from proxy.simulator.grants import Grants
from proxy.simulator.journal import AUTHORIZE_PATH, TOKEN_PATH, Received
from proxy.simulator.throttle import WINDOW_S, Throttle

_BACKLOG = 2048  # a thousand callers may arrive at once
_HEAD_BYTES = 128 * 1024  # more than the proxy lets through, so that its limit is the one that is met
_SHUTDOWN_S = 0.1  # what still runs then is cut


class Simulator:
    """A PandaDoc of one's own.

    Mutable: the socket, between start and stop; all else changes in the parts, each of which says how.
    What was issued, created and received outlives a stop: starting again is PandaDoc coming back.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        client_id: str = "simulator-client",
        client_secret: str = "simulator-secret",  # noqa: S107 - it opens nothing but this simulator
        expires_in: object = 31535999,
        rotate: bool = True,
        redirect_uri: str | None = None,
        echo_state: bool = True,
        draft_after: float = 3.0,
        draft_after_polls: int | None = None,
        document_size: int = 64 * 1024,
        rate_limits: Mapping[str, int] | None = None,
        rate_window: float = WINDOW_S,
    ) -> None:
        self.client_id = client_id
        self.client_secret = client_secret
        self.faults = Faults()
        self.journal: list[Received] = []
        self.documents = Documents(clock=clock, draft_after=draft_after, draft_after_polls=draft_after_polls)
        self._grants = Grants(
            clock=clock,
            client_id=client_id,
            client_secret=client_secret,
            expires_in=expires_in,
            rotate=rotate,
        )
        self._consent = Consent(
            client_id=client_id,
            issue_code=self._grants.issue_code,
            redirect_uri=redirect_uri,
            echo_state=echo_state,
        )
        self._throttle = Throttle(clock, rate_limits, rate_window)
        self._stopping = asyncio.Event()
        self._moved = asyncio.Event()
        self._exchange = Exchange(
            grants=self._grants,
            consent=self._consent,
            api=Api(self.documents, document_size),
            throttle=self._throttle,
            faults=self.faults,
            journal=self.journal,
            control=self._control,
            stopping=self._stopping,
            moved=self._moved,
        )
        self._runner: web.ServerRunner | None = None
        self._url: str | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes a free one, see `url`. Raises OSError if the address can't be had."""
        if self._runner is not None:
            raise RuntimeError("the simulator is running already")
        addresses = await addresses_of(host, port)
        self._stopping.clear()
        server = Server(
            self._exchange.handle,
            auto_decompress=False,  # the journal holds what came, not what it means
            access_log=None,
            logger=_mute(),
            max_line_size=_HEAD_BYTES,
            max_field_size=_HEAD_BYTES,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_S)
        await self._runner.setup()
        try:
            for each in sockets_at(addresses, port):
                await web.SockSite(self._runner, each, backlog=_BACKLOG).start()
        except OSError:
            await self.stop()
            raise
        bound_host, bound_port = self._runner.addresses[0][:2]
        if is_wildcard(bound_host):  # the proxy speaks plain http to loopback only
            bound_host = "::1" if ":" in bound_host else "127.0.0.1"
        self._url = str(URL.build(scheme="http", host=bound_host, port=bound_port))

    async def stop(self) -> None:
        """Close the listener and every connection; whoever hangs is let go."""
        self._stopping.set()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """The origin, at a loopback address where all are listened at; still the last one after a stop."""
        if self._url is None:
            raise RuntimeError("the simulator was never started")
        return self._url

    @property
    def expires_in(self) -> object:
        """What token replies say from now on: any JSON value, sent as it is."""
        return self._grants.expires_in

    @expires_in.setter
    def expires_in(self, value: object) -> None:
        self._grants.expires_in = value

    @property
    def rotate(self) -> bool:
        """Whether a refresh replaces the refresh token."""
        return self._grants.rotate

    @rotate.setter
    def rotate(self, value: bool) -> None:
        self._grants.rotate = value

    @property
    def redirect_uri(self) -> str | None:
        """The client's registered redirect URI; None: any that is http or https."""
        return self._consent.redirect_uri

    @redirect_uri.setter
    def redirect_uri(self, value: str | None) -> None:
        self._consent.redirect_uri = value

    @property
    def echo_state(self) -> bool:
        """Whether the consent page sends `state` back: PandaDoc does, and documents it nowhere."""
        return self._consent.echo_state

    @echo_state.setter
    def echo_state(self, value: bool) -> None:
        self._consent.echo_state = value

    @property
    def rate_limits(self) -> Mapping[str, int]:
        """Requests that are granted in a window, by class; none: all are."""
        return self._throttle.limits

    @rate_limits.setter
    def rate_limits(self, value: Mapping[str, int] | None) -> None:
        self._throttle.limits = dict(value or {})

    @property
    def rate_window(self) -> float:
        """Seconds of the window."""
        return self._throttle.window

    @rate_window.setter
    def rate_window(self, value: float) -> None:
        self._throttle.window = value

    def issue_refresh_token(self) -> str:
        """Return what a human's consent would leave behind: a grant without an access token."""
        return self._grants.issue_refresh_token()

    def issue_access_token(self) -> str:
        """Return the live access token of a new grant."""
        return self._grants.issue_access_token()

    def issue_api_key(self) -> str:
        return self._grants.issue_api_key()

    def issue_code(self) -> str:
        """Return a code for grant_type=authorization_code, good once, for ten minutes, with any redirect_uri."""
        return self._grants.issue_code()

    def revoke_access_tokens(self) -> None:
        """Kill every access token; refresh tokens live on."""
        self._grants.revoke_access_tokens()

    def expire_access_tokens(self) -> None:
        """Let the time of every access token have passed."""
        self._grants.expire_access_tokens()

    def revoke_grants(self) -> None:
        """Kill codes and refresh tokens as well: invalid_grant."""
        self._grants.revoke_grants()

    def revoke_api_keys(self) -> None:
        self._grants.revoke_api_keys()

    def lose_token_replies(self, times: int = 1) -> None:
        """Redeem and rotate the next `times` times, then cut the connection instead of answering."""
        self._exchange.token_replies_to_lose = times

    @property
    def minted(self) -> frozenset[str]:
        """Every credential ever issued, dead or alive: what no log may show."""
        return frozenset(self._grants.minted)

    @property
    def refresh_tokens(self) -> frozenset[str]:
        """Every refresh token that lives: who holds none of them has lost the grant."""
        return self._grants.refresh_tokens

    def token_calls(self) -> list[Received]:
        return [received for received in self.journal if received.path == TOKEN_PATH]

    def authorize_calls(self) -> list[Received]:
        """Return what came to the consent page: its views and its decisions."""
        return [received for received in self.journal if received.path == AUTHORIZE_PATH]

    def api_calls(self) -> list[Received]:
        return [received for received in self.journal if received.path not in {TOKEN_PATH, AUTHORIZE_PATH}]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what the journal holds makes a condition true; it is asked again at each change.

        A change is a head that arrives, a piece of a body, or an answer.
        """
        while not condition():
            await self._moved.wait()

    def state(self) -> dict[str, object]:
        """Tell what is alive and what is armed; no credential is among it."""
        return self._grants.state() | {
            "redirect_uri": self.redirect_uri,
            "echo_state": self.echo_state,
            "rate_limits": dict(self.rate_limits),
            "rate_window": self.rate_window,
            "documents": len(self.documents),
            "received": len(self.journal),
            "faults": len(self.faults.armed()),
            "token_replies_to_lose": self._exchange.token_replies_to_lose,
        }

    def _control(self, method: str, path: str, body: bytes) -> Answer:
        return control.answer(self, method, path, body)

    def __repr__(self) -> str:
        return f"<Simulator {self._url if self._runner else 'stopped'} {self.state()}>"


def _mute() -> logging.Logger:
    """Return a logger of no name and no voice: aiohttp's would print the bad header lines it meets."""
    logger = logging.Logger("mute")  # noqa: LOG001 - it must be nobody else's
    logger.disabled = True
    return logger
