"""The differences between the proxy and nginx that are meant: all of them, as data. docs/differences.md shows them.

Each turns what came of a case through nginx into what must come of it through the proxy; after all of them, in
their order, nothing may differ. Where nginx can't be asked the same, it is asked something else (`asked_instead`).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote_to_bytes

from torture import turns
from torture.case import CREDENTIAL, Answer, Case, Content, Request
from torture.turns import Turn, of_asked, of_told


def same(case: Case) -> Case:
    return case


@dataclass(frozen=True)
class Difference:
    """One difference, why it is meant, and a case that can't do without it."""

    what: str
    why: str
    section: str
    example: Case
    turn: Turn = turns.as_it_is
    asked_instead: Callable[[Case], Case] = same


def with_a_tame_target(case: Case) -> Case:
    """Replace a target that nginx refuses: a broken code, a NUL, dots that leave the root."""
    path = re.split(b"[?#]", case.request.target)[0]
    depth, depths = 0, []
    for segment in unquote_to_bytes(path).split(b"/"):
        depth += -1 if segment == b".." else segment not in {b"", b"."}
        depths.append(depth)
    if min(depths) >= 0 and re.search(rb"%(?![0-9A-Fa-f]{2})|%00", path) is None:
        return case
    return replace(case, request=replace(case.request, target=b"/tame"))


def without_authorization(case: Case) -> Case:
    kept = tuple(pair for pair in case.request.fields if pair[0].lower() != b"authorization")
    return replace(case, request=replace(case.request, fields=kept))


def without_interims(case: Case) -> Case:
    return replace(case, answer=replace(case.answer, interims=()))


def asking(*fields: tuple[bytes, bytes], **more: bytes) -> Case:
    return Case(Request(fields=fields, **more))  # type: ignore[arg-type]  # method, target and version are bytes


def telling(*fields: tuple[bytes, bytes]) -> Case:
    return Case(answer=Answer(fields=fields))


CHUNKED: Final = Content("chunked", 30)

DIFFERENCES: Final = (
    # Of the request.
    Difference(
        "A target that nginx refuses (`%zz`, `%00`, `/..`) passes as it is.",
        "PandaDoc says what its paths mean; the policy has looked at every reading.",
        "RFC 9110 §7.7, law 10",
        asking(target=b"/a%zz/../../b?%"),
        of_asked(turns.with_its_own_target),
        with_a_tame_target,
    ),
    Difference(
        "Two or more `Authorization` of the caller's are dropped as one is; nginx answers 400.",
        "Whatever the caller sends there, ours alone goes up.",
        "law 9",
        asking((b"Authorization", b"a"), (b"authorization", b"b")),
        asked_instead=without_authorization,
    ),
    Difference(
        "The target is refused (400) if it holds `#` or a backslash, or has more readings than an honest one.",
        "Servers disagree on what it asks for, so that no rule could mean it.",
        "RFC 9112 §3.2, law 19",
        asking(target=b"/a#b"),
        turns.refused,
    ),
    Difference(
        "`Via` is added.",
        "A gateway has to; by it we find out that we forward to ourselves.",
        "RFC 9110 §7.6.3",
        Case(),
        turns.with_via,
    ),
    Difference(
        "What says through whom a request came is dropped: `Forwarded`, `X-Forwarded-*`, `X-Real-IP`.",
        "What stands between the app and the proxy is nobody's business, and some servers take a host from it.",
        "RFC 7239 §8",
        asking((b"X-Forwarded-For", b"10.0.0.1"), (b"X_Forwarded_Host", b"a")),
        turns.asked_without(turns.FORWARDED),
    ),
    Difference(
        "What names another method or path is dropped: `X-HTTP-Method-Override`, `X-Original-URL` and the like.",
        "It would be obeyed behind the policy's back.",
        "law 19",
        asking((b"X-HTTP-Method-Override", b"DELETE")),
        turns.asked_without(turns.OVERRIDING),
    ),
    Difference(
        "`X-Proxy-Key` is dropped.",
        "It is a client's key to us.",
        "law 16",
        asking((b"X-Proxy-Key", b"a")),
        turns.asked_without(turns.KEY),
    ),
    Difference(
        "`Content_Length` is dropped.",
        "To whoever reads `_` as `-` it would frame the message.",
        "RFC 9112 §6, RFC 3875 §4.1.18",
        asking((b"Content_Length", b"5")),
        turns.asked_without(turns.FRAMING),
    ),
    Difference(
        "A chunked request stays chunked; nginx gives it a length where it has all of it.",
        "How it is framed must not hang on how fast it came.",
        "RFC 9112 §6",
        Case(Request(b"POST", content=CHUNKED)),
        of_asked(turns.chunked),
    ),
    Difference(
        "`Expect` goes up where the caller waits to be asked for its body; a body that came anyway is not asked for.",
        "PandaDoc can refuse a large upload before it is sent.",
        "RFC 9110 §10.1.1",
        Case(Request(b"POST", content=Content("length", 5), expects="waits")),
        turns.expecting,
    ),
    Difference(
        "`close` counts in whichever `Connection` it stands; for nginx `keep-alive` behind it undoes it.",
        "Fields of one name are one list.",
        "RFC 9110 §5.3, RFC 9112 §9.3",
        asking((b"Connection", b"close"), (b"Connection", b"keep-alive")),
        turns.closing,
    ),
    Difference(
        "Behind a request that offers to upgrade, the connection is closed.",
        "The offer is not taken, and the parser loses what follows it in the same segment.",
        "RFC 9110 §7.8, RFC 9112 §9.6",
        asking((b"Upgrade", b"h2c"), (b"Connection", b"upgrade")),
        turns.upgrading,
    ),
    # Of the answer.
    Difference(
        "Interim answers (1xx) are passed over; nginx takes the first for the answer.",
        "A 100 is what we asked for; a 103 is lost, against the RFC, and with it no more than a hint.",
        "RFC 9110 §15.2",
        Case(answer=Answer(fields=((b"Connection", b"close"),), interims=((b"103 Early Hints", ()),))),
        asked_instead=without_interims,
    ),
    Difference(
        "`Content-Type`, `Location` and others stay where and as they are; nginx writes them anew, first.",
        "A field that the proxy has no business with passes as it is.",
        "RFC 9110 §5.3, law 10",
        telling((b"X-One", b"a"), (b"content-type", b"text/html")),
        turns.as_the_origin_said(turns.REBUILT),
    ),
    Difference(
        "Fields whose names hold more than letters, digits, `-` and `_` pass; nginx drops some.",
        "They are tokens.",
        "RFC 9110 §5.1",
        telling((b"!", b"")),
        turns.as_the_origin_said(turns.ODD),
    ),
    Difference(
        "`Date` is added where there is none.",
        "A recipient that has a clock has to, when it forwards.",
        "RFC 9110 §6.6.1",
        Case(),
        turns.dated,
    ),
    Difference(
        "`Strict-Transport-Security`, `Alt-Svc`, `NEL` and `Report-To` are dropped.",
        "They are about PandaDoc's name, and would be taken for localhost's.",
        "RFC 6797 §8, RFC 7838 §2",
        telling((b"Strict-Transport-Security", b"max-age=1"), (b"Alt-Svc", b"clear")),
        turns.told_without(turns.AT_HOME),
    ),
    Difference(
        "`Access-Control-*` is dropped.",
        "No page is let in, whoever would allow it.",
        "Fetch §3.2, law 19",
        telling((b"Access-Control-Allow-Origin", b"*")),
        turns.told_without(turns.PERMISSION),
    ),
    Difference(
        "A `Location` on the upstream's own origin becomes one on the listener's.",
        "The caller has no credential there.",
        "RFC 9110 §10.2.2, law 15",
        telling((b"Location", b"http://@ORIGIN@/a")),
        of_told(turns.located_here),
    ),
    Difference(
        "A field that holds the credential is dropped.",
        "The caller must not learn it.",
        "law 16",
        telling((b"X-Echo", CREDENTIAL.encode())),
        of_told(turns.without_the_credential),
    ),
    Difference(
        "What the proxy says itself (400, 502) is `application/problem+json`.",
        "It says `type` and `detail`, as PandaDoc does; `Proxy-Status` tells who failed.",
        "RFC 9457, RFC 9209, law 14",
        Case(answer=Answer(cut=10)),
        turns.in_our_words,
    ),
    Difference(
        "To an HTTP/1.0 caller, an answer of no stated length that breaks off ends in a reset.",
        "Its end would be taken for the body's.",
        "RFC 9112 §8, law 13",
        Case(Request(version=b"1.0"), Answer(content=CHUNKED, cut=10)),
        turns.reset,
    ),
    # Of both.
    Difference(
        "Hop-by-hop fields end here, all of them, and what `Connection` nominates; nginx knows the usual ones.",
        "They are about one connection. What frames or means the message can't be nominated away.",
        "RFC 9110 §7.6.1",
        asking((b"Connection", b"X-One"), (b"X-One", b"a"), (b"Proxy-Connection", b"a")),
        turns.without_hop_by_hop,
    ),
    Difference(
        "Tabs around a value are no part of it.",
        "They are optional white space, like spaces.",
        "RFC 9110 §5.5",
        asking((b"X-One", b"\ta\t")),
        turns.without_tabs,
    ),
)
