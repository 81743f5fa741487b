"""What the environment says: settings laid over the file's, credentials where the file has none, a proxy.

Never here: which settings exist, and what their values mean; the reader judges them like the file's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed lacks it

from proxy.config.document import MAX_DEPTH, Unreadable, variable
from proxy.config.faults import join, shown
from proxy.config.nodes import NAMED, SHORT, ListNode, MapNode, Node, Place, Scalar, spelled_out

if TYPE_CHECKING:
    from collections.abc import Mapping

    from yarl import URL

    from proxy.config.faults import Findings

# Two underscores a level: Kubernetes injects PANDADOC_PROXY_SERVICE_HOST and more for a Service of our name.
PREFIX = "PANDADOC_PROXY__"
PLACE = Place("environment")

_OAUTH2 = {
    "client_id": "PANDADOC_CLIENT_ID",
    "client_secret": "PANDADOC_CLIENT_SECRET",
    "refresh_token": "PANDADOC_REFRESH_TOKEN",
}
_API_KEY = "PANDADOC_API_KEY"
NO_CREDENTIALS = (
    f"there is none: set {_API_KEY}, or {_OAUTH2['client_id']}, {_OAUTH2['client_secret']}"
    f" and {_OAUTH2['refresh_token']}, or write credentials: in config.yaml"
)


def overlay(root: MapNode, environ: Mapping[str, str], faults: Findings) -> MapNode:
    """Lay every PANDADOC_PROXY__… variable over the tree; whole sections first, then what stands in them.

    An empty one is as good as unset: taken for null, the `${POLICY:-}` of a compose file would remove a policy.
    """
    given = (name for name, text in environ.items() if name.startswith(PREFIX) and text.strip())
    for name in sorted(given, key=_levels):
        override = _Override(name, environ[name], faults)
        try:
            root = override.over(root)
        except Unreadable as flaw:
            faults.add(flaw.place, override.path, flaw.message)
    return root


def _levels(name: str) -> list[tuple[int, str]]:
    """Order by level, numbers by value: 2 before 10."""
    return [(int(key) if _is_index(key) else -1, key) for key in name.split("__")]


def _beside(node: Node | None, said: Node, path: str) -> Node:
    """Return what is said; a short form over a mapping sets its one value, and the others stay."""
    if isinstance(node, MapNode) and spelled_out(said, path) is not said:
        return node.with_entry(SHORT[path], said)
    return said


def _is_index(key: str) -> bool:
    return key.isascii() and key.isdecimal() and len(key) <= 4  # noqa: PLR2004 - int() of endless digits fails


class _Override:
    """One variable on its way down the tree."""

    def __init__(self, name: str, text: str, faults: Findings) -> None:
        self._place = Place(name)
        self._text = text
        self._faults = faults
        keys = name.removeprefix(PREFIX).split("__")
        self._keys = keys if name == name.upper() and all(keys) and len(keys) <= MAX_DEPTH else []

    @property
    def path(self) -> str:
        return ".".join(shown(key.lower()) for key in self._keys)

    def over(self, root: MapNode) -> MapNode:
        if not self._keys:
            raise Unreadable(self._place, f"expected capitals and two underscores a level: {PREFIX}UPSTREAM__URL")
        return self._in_mapping(root, self._keys, "")

    def _laid(self, node: Node | None, keys: list[str], path: str) -> Node:
        if not keys:
            return _beside(node, variable(self._place.source, self._text, path, self._faults), path)
        below = None if node is None else spelled_out(node, path)
        numbered = _is_index(keys[0]) and path.rpartition(".")[2] not in NAMED
        if isinstance(below, ListNode) or (numbered and not isinstance(below, MapNode)):
            return self._in_list(below if isinstance(below, ListNode) else ListNode(self._place, ()), keys, path)
        return self._in_mapping(below if isinstance(below, MapNode) else MapNode(self._place, {}), keys, path)

    def _in_mapping(self, node: MapNode, keys: list[str], path: str) -> MapNode:
        key = self._key(node, keys[0])
        return node.with_entry(key, self._laid(node.entries.get(key), keys[1:], join(path, key)))

    def _in_list(self, node: ListNode, keys: list[str], path: str) -> ListNode:
        count = len(node.items)
        if not _is_index(keys[0]):
            raise Unreadable(self._place, "this is a list: name one of its entries by number, the first is 0")
        if int(keys[0]) > count:
            raise Unreadable(self._place, f"there are {count} entries so far: the next is number {count}")
        index = int(keys[0])
        item = self._laid(node.items[index] if index < count else None, keys[1:], join(path, str(index)))
        return ListNode(node.place, (*node.items[:index], item, *node.items[index + 1 :]))

    def _key(self, node: MapNode, segment: str) -> str:
        """Match a key as shells can spell it: `MY_TEAM` is `my-team` if that is there, else `my_team`."""
        spelled = [key for key in node.entries if key.upper().replace("-", "_") == segment]
        if len(spelled) > 1:
            several = f"{shown(segment)} fits several names: {', '.join(map(shown, spelled))}"
            raise Unreadable(self._place, f"{several}. Set it in the file, or rename all but one")
        return spelled[0] if spelled else segment.lower()


def credentials(environ: Mapping[str, str], faults: Findings) -> MapNode | None:
    """Name the one credential that PANDADOC_… variables make, as the file would; None if there are none."""
    has_key = bool(environ.get(_API_KEY))
    oauth2 = {key: name for key, name in _OAUTH2.items() if environ.get(name)}
    flaw = _flaw(oauth2, has_key=has_key)
    if flaw:
        faults.add(PLACE, "credentials", flaw)
    if has_key:
        return _default("api_key", _reference(_API_KEY))
    if oauth2:
        return _default("oauth2", MapNode(PLACE, {key: _reference(name) for key, name in oauth2.items()}))
    return None


def _flaw(oauth2: Mapping[str, str], *, has_key: bool) -> str | None:
    """Say why variables make no credential. Without a refresh token they do: the store may have one."""
    names = " and ".join(oauth2.values())
    lacking = [name for key, name in _OAUTH2.items() if key not in oauth2 and key != "refresh_token"]
    if oauth2 and has_key:
        return f"{_API_KEY} makes one credential, {names} another: unset one way"
    if oauth2 and lacking:
        return f"{names} alone can't make a credential: set {' and '.join(lacking)} too"
    return None


def _reference(name: str) -> Node:
    return MapNode(Place(name), {"env": Scalar(Place(name), name, "text")})


def _default(way: str, node: Node) -> MapNode:
    return MapNode(PLACE, {"default": MapNode(PLACE, {way: node})})


def https_proxy(url: URL, environ: Mapping[str, str]) -> str | None:
    """Name the variable that has a proxy for an https URL, if one has and NO_PROXY does not exempt it.

    Lower case comes first, as in curl.
    """
    exempt = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if proxy_bypass_environment(f"{url.host}:{url.port}", {"no": exempt}):
        return None
    return next((name for name in ("https_proxy", "HTTPS_PROXY") if environ.get(name, "").strip()), None)
