"""The simulator's switches over HTTP, for tests that are not written in Python.

All bodies are JSON; all paths start with `/_simulator`; nothing here needs a credential.

    GET    /journal             what was received: credentials masked, bodies as size and SHA-256
    DELETE /journal             forget it
    GET    /state               what is alive, what is armed
    POST   /grants              a new grant: {"refresh_token": ...}
    POST   /codes               a new authorization code: {"code": ...}
    POST   /api-keys            a new API key: {"api_key": ...}
    POST   /expire              the time of every access token has passed
    POST   /revoke              every access token is dead; refresh tokens live on
    POST   /revoke-grants       refresh tokens are dead too: invalid_grant
    POST   /revoke-api-keys     every API key is dead
    POST   /lose-token-replies  {"times": 1}: redeem and rotate, then cut the connection
    POST   /faults              {"method", "path", "status", "body", "headers", "delay", "times", "hang",
                                "reset", "early"}, all optional; a body that is no string is sent as JSON,
                                with that Content-Type unless the headers have one
    DELETE /faults              clear them
    POST   /settings            {"rotate": false, "expires_in": 60, "redirect_uri": null, "echo_state": false,
                                "rate_limits": {"details": 600}, "rate_window": 60}, all optional; limits are
                                create, create_upload, send, details, list, download, or "all" for all together

A switch that was thrown answers 200 with the state; a request that makes no sense, 400 with a reason.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated

import msgspec

from proxy.simulator.answers import JSON_TYPE, NOT_FOUND, Answer, json_answer, request_error
from proxy.simulator.faults import Fault
from proxy.simulator.journal import Received
from proxy.simulator.throttle import Class

if TYPE_CHECKING:
    from proxy.simulator.server import Simulator


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
    switches = _switches(simulator, body or b"{}").get(path.removeprefix("/_simulator"))
    if switches is None:
        return NOT_FOUND
    if method not in switches:
        return request_error(405, "Method not allowed.", ("Allow", ", ".join(switches)))
    try:
        payload = switches[method]()
    except (msgspec.DecodeError, ValueError) as problem:
        return request_error(400, str(problem))
    except RecursionError:
        return request_error(400, "JSON is nested too deep")
    return json_answer(200, simulator.state() if payload is None else payload)


_Switch = Callable[[], object]


def _switches(simulator: "Simulator", body: bytes) -> Mapping[str, Mapping[str, _Switch]]:
    decode = msgspec.json.decode
    return {
        "/journal": {
            "GET": lambda: [_entry(received) for received in simulator.journal],
            "DELETE": simulator.journal.clear,
        },
        "/state": {"GET": simulator.state},
        "/grants": {"POST": lambda: {"refresh_token": simulator.issue_refresh_token()}},
        "/codes": {"POST": lambda: {"code": simulator.issue_code()}},
        "/api-keys": {"POST": lambda: {"api_key": simulator.issue_api_key()}},
        "/expire": {"POST": simulator.expire_access_tokens},
        "/revoke": {"POST": simulator.revoke_access_tokens},
        "/revoke-grants": {"POST": simulator.revoke_grants},
        "/revoke-api-keys": {"POST": simulator.revoke_api_keys},
        "/lose-token-replies": {"POST": lambda: simulator.lose_token_replies(decode(body, type=_Losses).times)},
        "/faults": {
            "POST": lambda: simulator.faults.add(decode(body, type=_Fault).fault()),
            "DELETE": simulator.faults.clear,
        },
        "/settings": {"POST": lambda: _set(simulator, decode(body, type=_Settings))},
    }


def _set(simulator: "Simulator", settings: _Settings) -> None:
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if value is not msgspec.UNSET:
            setattr(simulator, name, value)


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
