"""PandaDoc's rate limits: so many requests in any minute, counted for the one user that every credential acts as.

A request that is refused counts for nothing, and the sentence tells in how many seconds the next is granted: as
Django REST framework does it, whose words these are. No field says when to come again.
"""

from collections import deque
from collections.abc import Callable, Mapping
from math import ceil
from types import MappingProxyType
from typing import Literal, TypeAlias

from proxy.simulator.answers import Answer, json_answer

WINDOW_S = 60.0
ALL = "all"
Class: TypeAlias = Literal["create", "create_upload", "send", "details", "list", "download", "all"]

PRODUCTION: Mapping[str, int] = MappingProxyType(
    {"create": 500, "create_upload": 300, "send": 400, "details": 600, "list": 2000, "download": 100}
)
SANDBOX: Mapping[str, int] = MappingProxyType({ALL: 10})

UPLOADS = frozenset({"upload", "upload-markdown"})  # names in the query, with a value or without


class Throttle:
    """Grants requests.

    The mutable state is when each class granted its last ones; `refusal` alone changes it. `limits` and `window` may
    be set at any time: without limits everything is granted.
    """

    def __init__(self, clock: Callable[[], float], limits: Mapping[str, int] | None, window: float) -> None:
        """`limits`: requests in `window` seconds by class, or for ALL together; a class without one has no limit."""
        self.limits = dict(limits or {})
        self.window = window
        self._clock = clock
        self._granted: dict[str, deque[float]] = {}

    def refusal(self, method: str, target: str) -> Answer | None:
        """Grant a request, or answer 429."""
        name = ALL if ALL in self.limits else named(method, target)
        limit = self.limits.get(name)
        if limit is None:
            return None
        now, granted = self._clock(), self._granted.setdefault(name, deque())
        while granted and granted[0] <= now - self.window:
            granted.popleft()
        if len(granted) >= limit:
            wait = ceil(granted[-limit] + self.window - now)
            detail = f"Request was throttled. Expected available in {wait} second{'' if wait == 1 else 's'}."
            return json_answer(429, {"type": "throttled", "detail": detail})
        granted.append(now)
        return None

    def __repr__(self) -> str:
        return f"<Throttle {self.limits or 'off'} in {self.window:g} s>"


def named(method: str, target: str) -> str:
    """Tell by what a request is counted; "" where PandaDoc gives no number."""
    path, _, query = target.partition("?")
    match "GET" if method == "HEAD" else method, path.split("/")[1:]:
        case "POST", ["public", "v1", "documents"]:
            flags = {each.partition("=")[0] for each in query.split("&")}
            return "create" if UPLOADS.isdisjoint(flags) else "create_upload"
        case ("GET", ["public", "v1", "documents"]) | ("GET" | "DELETE", ["public", "v1", "documents", _]):
            return "list"
        case "GET", ["public", "v1", "documents", _, "details" | "download" as part]:
            return part
        case "POST", ["public", "v1", "documents", _, "send"]:
            return "send"
        case _:
            return ""
