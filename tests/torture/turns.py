"""How what came of a case through nginx is turned into what must come of it through the proxy. Pure.

The proxy's words for it are in proxy/forward/headers.py and guard.py; here they are said a second time.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from torture.case import CLOSED, CREDENTIAL, Case, nominations
from torture.passage import RESET, Asked, Passage, Told
from torture.spoken import Fields

from proxy.errors import CallerError
from proxy.policy.paths import readings

Turn = Callable[[Case, Passage, Passage], Passage]
"""Given a case, what came of it through nginx and what through the proxy: returns what must have come."""

HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"proxy-connection"}
    | {b"proxy-authorization", b"proxy-authenticate"}
)
NEVER_NOMINATED: Final = frozenset({b"content-type", b"content-encoding", b"cache-control", b"cookie", b"date"})
FORWARDED: Final = re.compile(rb"x-forwarded|x-forwarded-.*|forwarded|x-real-ip")
OVERRIDING: Final = re.compile(rb"x-http-method|x-http-method-override|x-method-override|x-original-url")
KEY: Final = re.compile(rb"x-proxy-key")
FRAMING: Final = re.compile(rb"content-length")
EXPECT: Final = (b"Expect", b"100-continue")
VIA: Final = re.compile(rb"1\.1 pandadoc-proxy(-[0-9a-f]{8})?")
URI: Final = re.compile(rb"/[^\x00-\x20#\\\x7f-\xff]*")

REBUILT: Final = re.compile(rb"(?i)server|date|content-type|content-length|location|last-modified")
ODD: Final = re.compile(rb"(?i).*[^a-z0-9_-].*")
AT_HOME: Final = re.compile(rb"strict-transport-security|alt-svc|nel|report-to")
PERMISSION: Final = re.compile(rb"access-control-.*")
HTTP_DATE: Final = re.compile(rb"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT")
ORIGIN: Final = re.compile(rb"(?i)\A(?:http:)?//@ORIGIN@(?=[/?#]|\Z)")


def as_it_is(_case: Case, theirs: Passage, _ours: Passage) -> Passage:
    return theirs


def of_asked(change: Callable[[Case, Asked], Asked]) -> Turn:
    """Make a turn that changes what the origin gets."""
    return lambda case, theirs, _ours: replace(theirs, asked=tuple(change(case, each) for each in theirs.asked))


def of_told(change: Callable[[Case, Told], Told]) -> Turn:
    """Make a turn that changes what the caller gets."""
    return lambda case, theirs, _ours: replace(theirs, told=change(case, theirs.told))


def asked_without(dropped: re.Pattern[bytes]) -> Turn:
    return of_asked(lambda _, asked: replace(asked, fields=without(asked.fields, dropped.fullmatch)))


def told_without(dropped: re.Pattern[bytes]) -> Turn:
    return of_told(lambda _, told: replace(told, fields=without(told.fields, dropped.fullmatch)))


def without(fields: Fields, dropped: Callable[[bytes], object]) -> Fields:
    """Drop fields by their names as CGI reads them."""
    return tuple(pair for pair in fields if not dropped(folded(pair[0])))


def folded(name: bytes) -> bytes:
    return name.lower().replace(b"_", b"-")


# Of both.


def without_hop_by_hop(case: Case, theirs: Passage, _ours: Passage) -> Passage:
    request, answer = _hop_by_hop(case.request.fields), _hop_by_hop(case.answer.fields)
    asked = tuple(replace(each, fields=without(each.fields, request.__contains__)) for each in theirs.asked)
    told = replace(theirs.told, fields=without(theirs.told.fields, answer.__contains__))
    return replace(theirs, asked=asked, told=told)


def _hop_by_hop(fields: Fields) -> frozenset[bytes]:
    return HOP_BY_HOP | ({folded(name) for name in nominations(fields)} - NEVER_NOMINATED)


def without_tabs(_case: Case, theirs: Passage, _ours: Passage) -> Passage:
    asked = tuple(replace(each, fields=_stripped(each.fields)) for each in theirs.asked)
    return replace(theirs, asked=asked, told=replace(theirs.told, fields=_stripped(theirs.told.fields)))


def _stripped(fields: Fields) -> Fields:
    return tuple((name, value.strip(b"\t ")) for name, value in fields)


# Of the request.


def with_via(_case: Case, theirs: Passage, ours: Passage) -> Passage:
    """Each process of ours has a pseudonym of its own."""
    said = [pair for each in ours.asked for pair in each.fields if pair[0] == b"Via" and VIA.fullmatch(pair[1])]
    return replace(theirs, asked=tuple(replace(each, fields=(*each.fields, *said[-1:])) for each in theirs.asked))


def chunked(case: Case, asked: Asked) -> Asked:
    return replace(asked, framing="chunked") if case.request.content.framing == "chunked" else asked


def expecting(case: Case, theirs: Passage, ours: Passage) -> Passage:
    """Where the caller sends its body at once, chance says whether it comes before it would be asked for."""
    if not case.request.expects:
        return theirs
    waits = case.request.expects == "waits"
    crossed = {EXPECT} if waits else {pair for each in ours.asked for pair in each.fields} & {EXPECT}
    asked = tuple(replace(each, fields=(*each.fields, *crossed)) for each in theirs.asked)
    interims = theirs.told.interims if waits or ours.told.interims else ()
    return replace(theirs, asked=asked, told=replace(theirs.told, interims=interims))


def with_its_own_target(case: Case, asked: Asked) -> Asked:
    return replace(asked, start=asked.start.replace(b" /tame ", b" %b " % case.request.target))


def refused(case: Case, theirs: Passage, ours: Passage) -> Passage:
    """Nothing goes up, and the caller is told so."""
    if URI.fullmatch(case.request.target) is not None and _can_be_read(case.request.target):
        return theirs
    said = ours.told if _is_ours(ours.told) and ours.told.start[9:12] == b"400" else theirs.told
    return replace(theirs, asked=(), told=said, usable=False)


def _can_be_read(target: bytes) -> bool:
    try:
        readings(target.partition(b"?")[0].decode("latin-1"))
    except CallerError:
        return False
    return True


def closing(case: Case, theirs: Passage, _ours: Passage) -> Passage:
    return _closed(theirs) if CLOSED in nominations(case.request.fields) else theirs


def upgrading(case: Case, theirs: Passage, _ours: Passage) -> Passage:
    offers = [value for name, value in _stripped(case.request.fields) if name.lower() == b"upgrade" and value]
    return _closed(theirs) if offers and b"upgrade" in nominations(case.request.fields) else theirs


def _closed(passage: Passage) -> Passage:
    return replace(passage, usable=False, told=replace(passage.told, closes=True))


# Of the answer.


def as_the_origin_said(names: re.Pattern[bytes]) -> Turn:
    """Put fields with these names to where they came, as they came."""

    def said(case: Case, told: Told) -> Told:
        if not _is_relayed(case, told):
            return told
        fields: Fields = ()
        others = [pair for pair in told.fields if names.fullmatch(pair[0]) is None]
        for name, value in (*case.answer.fields, *case.answer.content.fields):
            if names.fullmatch(name) is not None:
                fields += ((name, value.strip(b" ")),)
            elif others and others[0][0] == name:
                fields += (others.pop(0),)
        return replace(told, fields=(*fields, *others))

    return of_told(said)


def dated(case: Case, theirs: Passage, ours: Passage) -> Passage:
    names = {name.lower() for name, _ in theirs.told.fields}
    if not _is_relayed(case, theirs.told) or b"date" in names:
        return theirs
    date = tuple(pair for pair in ours.told.fields[-1:] if pair[0] == b"Date" and HTTP_DATE.fullmatch(pair[1]))
    return replace(theirs, told=replace(theirs.told, fields=theirs.told.fields + date))


def located_here(_case: Case, told: Told) -> Told:
    def here(name: bytes, value: bytes) -> bytes:
        return ORIGIN.sub(b"http://localhost", value) if name.lower() == b"location" else value

    return replace(told, fields=tuple((name, here(name, value)) for name, value in told.fields))


def without_the_credential(_case: Case, told: Told) -> Told:
    return replace(told, fields=tuple(pair for pair in told.fields if CREDENTIAL.encode() not in pair[1]))


def in_our_words(_case: Case, theirs: Passage, ours: Passage) -> Passage:
    """Both must say it of themselves, with the same status; framing, end and connection are compared all the same."""
    if not (_is_nginxs(theirs.told) and _is_ours(ours.told) and ours.told.start[9:12] == theirs.told.start[9:12]):
        return theirs
    said = replace(theirs.told, start=ours.told.start, fields=ours.told.fields, body=ours.told.body)
    return replace(theirs, told=said)


def reset(case: Case, theirs: Passage, _ours: Passage) -> Passage:
    unframed = case.request.version == b"1.0" and theirs.told.framing == "close"
    return replace(theirs, told=RESET) if unframed and case.answer.cut and _is_relayed(case, theirs.told) else theirs


def _is_relayed(case: Case, told: Told) -> bool:
    return told.start == b"HTTP/1.1 " + case.answer.status and not (_is_nginxs(told) or _is_ours(told))


def _is_nginxs(told: Told) -> bool:
    return any(name == b"Server" and value.startswith(b"nginx/") for name, value in told.fields)


def _is_ours(told: Told) -> bool:
    return any(name == b"Proxy-Status" and value.startswith(b"pandadoc-proxy; error=") for name, value in told.fields)
