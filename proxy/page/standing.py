"""How a credential stands, in a word and for whoever asks now. Pure.

Never here: what to do about it. That is its status' advice.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

from msgspec import Struct, field

from proxy.credential.advice import span
from proxy.credential.status import REFUSED, Status
from proxy.page.words import many

Tone = Literal["bad", "warn", "wait", "unknown", "good"]
TONES: Final[tuple[Tone, ...]] = ("bad", "warn", "wait", "unknown", "good")
"""The worst first."""

TROUBLED: Final = frozenset({"bad", "warn"})


class Lending(Struct, frozen=True):
    """A credential, as the running proxy has it."""

    status: Status
    blind: bool = False  # the store, or a secret, can't be read
    refreshes: Mapping[str, int] = field(default_factory=dict)  # since the start, by how they ended


class Standing(Struct, frozen=True):
    """The word is for the eye, the rest for the reader."""

    tone: Tone
    word: str
    rest: str


def standing(lending: Lending) -> Standing:
    """Judge it."""
    status, left = lending.status, _left(lending.status)
    if status.health == "dead":
        return Standing("bad", "Dead", f"Lent to its end: {left}" if _is_lent(status) else "Nothing is lent")
    if status.health == "failing" or lending.blind:
        return _failing(lending, left)
    if status.health == "unknown":
        return Standing("unknown", "Unknown", "Nobody has asked for it yet")
    if status.state == "fresh":
        return Standing("good", "Fresh", left or "A key does not expire")
    return Standing("wait", status.state.capitalize(), f"{left}; a refresh is due")


def _failing(lending: Lending, left: str) -> Standing:
    if lending.status.state == REFUSED:
        return Standing("warn", "Refused", "Lent all the same")
    state = lending.status.state.capitalize()
    return Standing("warn", "Blind" if lending.blind else "Failing", f"{state}, {left}" if left else state)


def _is_lent(status: Status) -> bool:
    return status.expires_in is not None and status.expires_in > 0


def _left(status: Status) -> str:
    if status.expires_in is None:
        return ""
    if status.expires_in <= 0:
        return f"since {span(-status.expires_in)}"
    return f"{span(status.expires_in)} left"


class Besides(Struct, frozen=True):
    """What else needs somebody, as the alerts have it; and /status, but for requests."""

    failed: int = 0  # requests in the last minute, as the charts count them
    answered: int = 0  # whatever with
    not_taken: bool = False  # a new configuration is refused
    keyless: tuple[str, ...] = ()  # clients without a key that can be used
    expired: tuple[str, ...] = ()  # listeners whose certificate is

    def troubles(self) -> Iterator[tuple[Tone, str]]:
        """Tell each, the worst first."""
        if self.expired:
            yield "bad", f"{_have('listener', self.expired)} an expired certificate"
        if self.failed > self.answered:
            yield "warn", f"{many(self.failed, 'request')} failed in the last minute, and {_answered(self.answered)}"
        if self.keyless:
            yield "warn", f"{_have('client', self.keyless)} no key"
        if self.not_taken:
            yield "warn", "the new configuration is not taken"


def summary(lendings: Sequence[Lending], besides: Besides) -> tuple[Tone, str]:
    """Tell how all is, in one sentence."""
    standings = [(each.status.credential, standing(each)) for each in lendings]
    troubled = [(name, each) for name, each in standings if each.tone in TROUBLED]
    troubles = list(besides.troubles())
    tone = min((*(each.tone for _, each in standings), *(each for each, _ in troubles)), key=TONES.index)
    texts = [text for _, text in troubles]
    if len(troubled) > 1:
        texts.insert(0, f"{len(troubled)} of {len(standings)} credentials need you")
    elif troubled:
        ((name, one),) = troubled
        texts.insert(0, f"credential {name} is {one.word.lower()}")
    if not texts:
        return tone, "No trouble is known" if tone == "unknown" else "All is well"
    text = "; ".join(texts)
    return tone, text[0].upper() + text[1:]


def _answered(number: int) -> str:
    return f"{number:,} {'was' if number == 1 else 'were'} answered" if number else "none was answered"


def _have(what: str, names: Sequence[str]) -> str:
    return f"{what} {names[0]} has" if len(names) == 1 else f"{many(len(names), what)} have"
