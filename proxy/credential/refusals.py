"""What a 401 proves, and what it permits (law 3). Pure.

A 401 refreshes at once. Only when the token that was minted on account of a 401 is itself refused
(on the replay, or on its first use) does a 401 prove little: a cool-down begins. In it a 401 is
relayed, unless a probe with the same token is refused too; that permits one refresh, and if the new
token's probe is refused as well, none until the cool-down ends. It is over when a refresh has helped.

With one exception: a token that is accepted opens a spent cool-down again, once. It shows that PandaDoc does take
tokens after all, as when it has said 401 to everything for a while; without it, the next real revocation would stay
unhealed for up to an hour. Once, for beside a probe whose own path is 401 for ever other requests are accepted all
the time. So a cool-down costs three refreshes at most: that which began it, and two that a probe has asked for.

    401 for the current generation      not in a cool-down   in a cool-down     in it, and spent
    ──────────────────────────────────  ───────────────────  ─────────────────  ────────────────
    any but the one on trial            REFRESH              PROBE              RELAY
    the one on trial, its first use     a cool-down, PROBE   PROBE              RELAY
    the replay's                        a cool-down          (already there)    (already there)
"""

from enum import Enum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

SHORTEST: Final = 30.0
LONGEST: Final = 3600.0
"""Seconds a cool-down lasts: the first, and the most after doubling."""

SAME: Final = 15.0
"""Seconds by which the ends of one cool-down may differ, as several processes began it or their clocks are wrong: less
than the shortest."""


class Verdict(Enum):
    """What to do about a 401 for the current generation."""

    REFRESH = "refresh"
    PROBE = "probe"
    RELAY = "relay"


class Refusals(Struct, frozen=True):
    """What is known about 401s: the cool-down (kept in the store) and the token on trial."""

    until: float = 0.0  # wall-clock end of the last cool-down
    length: float = 0.0  # its seconds; 0: there was none, or a refresh has helped
    spent: bool = False  # its one permitted refresh did not help
    reopened: bool = False  # traffic has un-spent this cool-down once already
    on_trial: int | None = None  # the generation minted on account of a 401, not yet used

    @property
    def kept(self) -> tuple[float, float, bool]:
        """What of it outlives the process."""
        return self.until, self.length, self.spent

    def cooling(self, now: float) -> bool:
        """Tell whether a cool-down holds at `now`. A clock stepped back can't make it much longer than it was."""
        return bool(self.length) and now < self.until <= now + self.length + SAME

    def same(self, other: "Refusals") -> bool:
        """Tell whether both are of one cool-down, whoever began it, and know the same of it."""
        of_one = (self.length, self.spent) == (other.length, other.spent)
        return of_one and abs(self.until - other.until) < SAME

    def on_401(self, generation: int, now: float) -> tuple["Refusals", Verdict]:
        """Judge a 401 for `generation`, the current one."""
        if self.cooling(now):
            return self, Verdict.RELAY if self.spent else Verdict.PROBE
        if generation == self.on_trial:
            return self._cool_down(now), Verdict.PROBE
        return self, Verdict.REFRESH

    def minted(self, generation: int) -> "Refusals":
        """Put a new token on trial: a 401 has led to it."""
        return replace(self, on_trial=generation)

    def accepted(self, generation: int) -> "Refusals":
        """End the trial of a generation that the upstream took; one more refresh is worth while then."""
        ours = replace(self, on_trial=None) if generation == self.on_trial else self
        return replace(ours, spent=False, reopened=True) if ours.spent and not ours.reopened else ours

    def replay_refused(self, generation: int, now: float) -> "Refusals":
        """Cool down: the fresh token did not help the request whose 401 had asked for it."""
        if not self.cooling(now):
            return self._cool_down(now)
        return replace(self, on_trial=None) if generation == self.on_trial else self

    def helped(self) -> "Refusals":
        """End whatever cool-down there was: a refresh has cured a 401. Its end stays, to tell it from a later one."""
        return Refusals(until=self.until)

    def spend(self, now: float) -> "Refusals":
        """Permit no more refreshes in this cool-down: the new token's probe was refused as well."""
        cooling = self if self.cooling(now) else self._cool_down(now)
        return replace(cooling, spent=True, on_trial=None)

    def _cool_down(self, now: float) -> "Refusals":
        length = min(LONGEST, max(SHORTEST, self.length * 2))
        return Refusals(until=now + length, length=length)


def latest(one: Refusals, other: Refusals) -> Refusals:
    """Choose of what two processes know: the cool-down that began last, and of the same one what came of it last."""
    return max(one, other, key=lambda each: (each.until, not each.length, each.reopened, each.spent))
