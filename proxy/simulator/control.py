"""The simulator's switches over HTTP, for tests that are not written in Python.

All bodies are JSON; all paths start with `/_simulator`, at which each switch is told; nothing here needs a credential.
docs/simulator.md has them for people. A switch that was thrown answers 200 with the state; a request that makes no
sense, 400 with a reason. (One above 2 MiB never comes here: the exchange answers 413.)
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec

from proxy.simulator.answers import JSON_TYPE, NOT_FOUND, Answer, json_answer, request_error
from proxy.simulator.faults import Fault
from proxy.simulator.journal import CONTROL_PATH, Received
from proxy.simulator.throttle import ALL, Class

if TYPE_CHECKING:
    from proxy.simulator.server import Simulator


_DEEPEST = 100  # levels of expires_in: whatever is above it on the stack, a reply that holds it can be written


class _Losses(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    times: Annotated[int, msgspec.Meta(ge=0)] = 1


class _Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The simulator's attributes of the same names. The one that may still be refused is set first."""

    redirect_uri: str | msgspec.UnsetType | None = msgspec.UNSET
    echo_state: bool | msgspec.UnsetType = msgspec.UNSET
    rotate: bool | msgspec.UnsetType = msgspec.UNSET
    rate_limits: dict[Class, Annotated[int, msgspec.Meta(ge=1)]] | msgspec.UnsetType | None = msgspec.UNSET
    rate_window: Annotated[float, msgspec.Meta(gt=0)] | msgspec.UnsetType = msgspec.UNSET
    expires_in: object = msgspec.UNSET

    def __post_init__(self) -> None:
        if isinstance(self.rate_limits, dict) and ALL in self.rate_limits and len(self.rate_limits) > 1:
            raise ValueError(f"{ALL!r} is for all together: name it alone, or the classes without it")
        if _depth(self.expires_in) > _DEEPEST:
            raise RecursionError


class _Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A Fault as JSON says it; the meaning of each field is told there."""

    method: str | None = None
    path: str = "/**"
    status: int | None = None
    body: object = None
    headers: dict[str, str] = {}
    delay: float = 0.0
    times: int | None = None
    hang: bool = False
    reset: bool = False
    early: bool = False

    def fault(self) -> Fault:
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        return Fault(**fields | {"body": _body(self.body), "headers": _headers(self.headers, self.body)})


def answer(simulator: "Simulator", method: str, path: str, body: bytes) -> Answer:
    """Throw a switch, or tell what is."""
    all_switches = _switches(simulator, body or b"{}")
    switches = all_switches.get(path.removeprefix(CONTROL_PATH))
    if path in {CONTROL_PATH, f"{CONTROL_PATH}/"}:
        switches = {"GET": _Switch("this", lambda: _listed(all_switches))}
    if switches is None:
        return NOT_FOUND
    if method not in switches:
        return request_error(405, "Method not allowed.", ("Allow", ", ".join(switches)))
    try:
        payload = switches[method].throw()
    except (msgspec.DecodeError, ValueError) as problem:
        return request_error(400, str(problem))
    except RecursionError:
        return request_error(400, "JSON is nested too deep")
    return json_answer(200, simulator.state() if payload is None else payload)


class _Switch(NamedTuple):
    about: str
    throw: Callable[[], object]
    takes: tuple[str, ...] = ()


def _listed(switches: Mapping[str, Mapping[str, _Switch]]) -> list[dict[str, object]]:
    """Tell each switch, and the fields that its body may have."""
    return [
        {"method": method, "path": CONTROL_PATH + path, "about": switch.about, "takes": switch.takes}
        for path, methods in switches.items()
        for method, switch in methods.items()
    ]


def _switches(simulator: "Simulator", body: bytes) -> Mapping[str, Mapping[str, _Switch]]:
    decode = msgspec.json.decode
    return {
        "/journal": {
            "GET": _Switch(
                "what was received: credentials masked, bodies as size and SHA-256",
                lambda: [_entry(received) for received in simulator.journal],
            ),
            "DELETE": _Switch("forget it", simulator.journal.clear),
        },
        "/state": {"GET": _Switch("what is alive, what is armed", simulator.state)},
        "/grants": {
            "POST": _Switch("a new grant: a refresh token", lambda: {"refresh_token": simulator.issue_refresh_token()})
        },
        "/codes": {"POST": _Switch("a new authorization code", lambda: {"code": simulator.issue_code()})},
        "/api-keys": {"POST": _Switch("a new API key", lambda: {"api_key": simulator.issue_api_key()})},
        "/expire": {"POST": _Switch("the time of every access token has passed", simulator.expire_access_tokens)},
        "/revoke": {
            "POST": _Switch("every access token is dead; refresh tokens live on", simulator.revoke_access_tokens)
        },
        "/revoke-grants": {"POST": _Switch("refresh tokens are dead too: invalid_grant", simulator.revoke_grants)},
        "/revoke-api-keys": {"POST": _Switch("every API key is dead", simulator.revoke_api_keys)},
        "/lose-token-replies": {
            "POST": _Switch(
                "redeem and rotate, then cut the connection",
                lambda: simulator.lose_token_replies(decode(body, type=_Losses).times),
                _Losses.__struct_fields__,
            )
        },
        "/faults": {
            "POST": _Switch(
                "misbehave on a method and a path; all that it takes is optional",
                lambda: simulator.faults.add(decode(body, type=_Fault).fault()),
                _Fault.__struct_fields__,
            ),
            "DELETE": _Switch("clear the faults", simulator.faults.clear),
        },
        "/settings": {
            "POST": _Switch(
                "change what is named, and nothing else",
                lambda: _set(simulator, decode(body, type=_Settings)),
                _Settings.__struct_fields__,
            )
        },
    }


def _set(simulator: "Simulator", settings: _Settings) -> None:
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if value is not msgspec.UNSET:
            setattr(simulator, name, value)


def _depth(value: object) -> int:
    """Count the levels of a JSON value; RecursionError, where there are too many to be counted."""
    match value:
        case dict():
            within = list(value.values())
        case list():
            within = value
        case _:
            return 0
    return 1 + max(map(_depth, within), default=0)


def _body(body: object) -> bytes | None:
    if body is None:
        return None
    return body.encode() if isinstance(body, str) else msgspec.json.encode(body)


def _headers(given: Mapping[str, str], body: object) -> tuple[tuple[str, str], ...]:
    """Call JSON what is sent as JSON, unless it has a name already."""
    as_it_is = body is None or isinstance(body, str) or "content-type" in map(str.lower, given)
    return tuple(given.items()) if as_it_is else (JSON_TYPE, *given.items())


def _entry(received: Received) -> dict[str, object]:
    return {
        "method": received.method,
        "target": received.target.encode("utf-8", "surrogateescape").decode("latin-1"),
        "headers": [[name.decode("latin-1"), _masked(name, value)] for name, value in received.headers],
        "body_size": received.body_size,
        "body_sha256": received.body_sha256,
        "form": sorted(received.form),
        "status": received.status,
    }


def _masked(name: bytes, value: bytes) -> str:
    """Show a field's value: of a credential its scheme, of a cookie nothing."""
    text = value.decode("latin-1")
    match name.lower():
        case b"authorization" | b"proxy-authorization":
            scheme, space, _ = text.partition(" ")  # a value of one word has no scheme to show
            return f"{scheme} ***" if space else "***"
        case b"cookie":
            return "***"
        case _:
            return text
