"""Finds the file and takes it through the stages, to a tree or to every fault.

Never here: what a key means, and what makes a value wrong.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from proxy.config import environment, files, rules
from proxy.config.completion import completed
from proxy.config.document import Unreadable, document
from proxy.config.faults import BadConfig, Fault, Findings
from proxy.config.nodes import ListNode, MapNode, Node, Place, is_nothing, locate
from proxy.config.reader import Reader
from proxy.config.sections import Config, Ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from proxy.config.rules import Finding

    Check = Callable[[Config], Iterable[Finding]]

DEFAULT_SEARCH = (Path("config.yaml"), Path("/etc/pandadoc-proxy/config.yaml"))
FILE_VARIABLE = "PANDADOC_PROXY_CONFIG"

_ASKED: Final[Mapping[str, Any]] = {"listeners": {"bind": {}, "health": {}, "tls": {}}, "admin": {"bind": {}}}
"""The keys by which a running proxy is found, and what is below them."""


def load(
    path: Path | None = None,
    *,
    environ: Mapping[str, str],
    search: Sequence[Path] = DEFAULT_SEARCH,
    earlier: Config | None = None,
    checks: Sequence[Check] = (),
) -> Config:
    """Read the named file, else the one that PANDADOC_PROXY_CONFIG names, else the first found, else none.

    `earlier` is what is served: its file is read again, and must be there and have keys if it had any, for
    without it the defaults would allow what it forbids; and a credential that it does not lend must have its secrets.
    `checks` find what only shows when the parts are put together.
    Raises BadConfig with everything that is wrong. Does blocking file I/O.
    """
    served = None if earlier is None else earlier.source
    if served is not None and not served.exists():
        raise BadConfig(Fault(str(served), "", "the file is gone: put it back"))
    if earlier is not None:
        checks = (partial(files.lacking, served=earlier), *checks)
    try:
        source, text = _found(served or path, environ, search)
        return _config(text, source, environ, checks, keyed=earlier is not None and earlier.keyed)
    except Unreadable as flaw:
        raise BadConfig(Fault(str(flaw.place), "", flaw.message)) from None


def ports(path: Path | None = None, *, environ: Mapping[str, str], search: Sequence[Path] = DEFAULT_SEARCH) -> Ports:
    """Read what somebody needs who asks a running proxy how it is, and judge no more.

    It may serve on while the file has faults elsewhere, and who asks need not have its secrets.
    Raises BadConfig. Does blocking file I/O.
    """
    unminded = Findings()
    try:
        source, text = _found(path, environ, search)
        root = environment.overlay(_written(text, source, unminded), environ, unminded)
    except Unreadable as flaw:
        raise BadConfig(Fault(str(flaw.place), "", flaw.message)) from None
    reader = Reader(environ, source.parent if source else Path(), Findings())
    found: Ports = reader.section(_only(_ASKED, root), Ports, "")
    if reader.faults:
        raise BadConfig(*reader.faults.ordered())
    return found


def _only(keys: Mapping[str, Any], node: Node) -> Node:
    """Leave out of a tree what is not among the keys; an empty mapping of them stands for all that is below."""
    if isinstance(node, MapNode) and keys:
        kept = {key: _only(keys[key], below) for key, below in node.entries.items() if key in keys}
        return MapNode(node.place, kept)
    if isinstance(node, ListNode):
        return ListNode(node.place, tuple(_only(keys, item) for item in node.items))
    return node


def _found(path: Path | None, environ: Mapping[str, str], search: Sequence[Path]) -> tuple[Path | None, str]:
    if path is not None:
        return path, _named(path, Place(str(path)))
    if environ.get(FILE_VARIABLE):
        named = Path(environ[FILE_VARIABLE])
        return named, _named(named, Place(FILE_VARIABLE))
    for candidate in search:
        text = files.document_text(candidate)
        if text is not None:
            return candidate, text
    return None, ""


def _named(path: Path, place: Place) -> str:
    text = files.document_text(path)
    if text is None:
        raise Unreadable(place, f"there is no file {path}: name one that exists, or none")
    return text


def _config(
    text: str, source: Path | None, environ: Mapping[str, str], checks: Sequence[Check], *, keyed: bool
) -> Config:
    faults = Findings()
    written = _written(text, source, faults)
    if keyed and not written.entries:
        raise Unreadable(Place(str(source)), "the file has no keys any more: to go back to the defaults, start anew")
    root = _root(written, environ, faults)
    reader = Reader(environ, source.parent if source else Path(), faults)
    config = completed(reader.section(root, Config, ""), environ, faults)
    for check in (rules.faults, files.faults, *checks):
        _add(faults, check(config), root, unless=faults)
    if faults:
        raise BadConfig(*faults.ordered())
    _add(reader.warnings, (*rules.warnings(config), *files.warnings(config)), root, unless=faults)
    warnings = tuple(map(str, reader.warnings.ordered()))
    return replace(config, source=source, keyed=bool(written.entries), warnings=warnings)


def _written(text: str, source: Path | None, faults: Findings) -> MapNode:
    return MapNode(environment.PLACE, {}) if source is None else document(text, str(source), faults)


def _root(root: MapNode, environ: Mapping[str, str], faults: Findings) -> MapNode:
    """Lay the environment over the file; one without credentials leaves those to the environment."""
    if _lacks_credentials(root):
        given = environment.credentials(environ, faults) or MapNode(environment.PLACE, {})
        root = root.with_entry("credentials", given)
    root = environment.overlay(root, environ, faults)
    if _lacks_credentials(root):
        faults.add(environment.PLACE, "credentials", environment.NO_CREDENTIALS)
    return root


def _lacks_credentials(root: MapNode) -> bool:
    node = root.entries.get("credentials")
    return is_nothing(node) or (isinstance(node, MapNode) and not node.entries)


def _add(to: Findings, findings: Iterable[Finding], root: MapNode, *, unless: Findings) -> None:
    whole = [finding for finding in findings if not any(map(unless.touches, finding.whole))]  # before any is added
    for finding in whole:
        if not any(map(unless.covers, (finding.path, *finding.rests_on))):
            to.add(locate(root, finding.path), finding.path, finding.message)
