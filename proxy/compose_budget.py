"""The composition of rate budgets: one for each credential that is to have one, and each client's part in it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from proxy.budget.budget import Priority
from proxy.budget.local import LocalBudget
from proxy.clock import Clock
from proxy.compose_credentials import identity
from proxy.config import Client, Config, RateBudget
from proxy.forward.metered import Meter

if TYPE_CHECKING:
    from proxy.compose import Snapshot

Budgets = Mapping[str, LocalBudget]  # by credential; one without is not counted


def budgets_of(
    config: Config, clock: Clock, earlier: "Snapshot | None"
) -> tuple[Budgets, tuple[Callable[[], None], ...]]:
    """Make each credential's budget; one that there was goes on, for PandaDoc still counts what was sent.

    Nobody waits any longer on one that is switched off.
    """
    known: dict[tuple[object, ...], LocalBudget] = {}
    if earlier is not None:
        known = {identity(name, earlier.config.credentials[name]): each for name, each in earlier.budgets.items()}
    budgets, changes = {}, []
    for name, credential in config.credentials.items():
        rates = config.rate_budget.of(name)
        if rates:
            budgets[name] = known.get(identity(name, credential)) or LocalBudget(rates, clock.monotonic)
            changes.append(partial(budgets[name].resize, rates))
    over = [each for each in known.values() if each not in budgets.values()]
    changes += [partial(each.resize, dict.fromkeys(rate.name for rate in each.standings())) for each in over]
    return budgets, tuple(changes)


@dataclass(frozen=True, slots=True)
class Meters:
    """What makes each client's part in a credential's budget."""

    budgets: Budgets
    settings: RateBudget
    clock: Clock
    ready: Callable[[], bool]

    def of(self, credential: str, client: Client | None) -> Meter | None:
        """Make one; `client` None: whoever reaches the listener."""
        budget = self.budgets.get(credential)
        if budget is None:
            return None
        batch = client is not None and client.priority == "batch"
        return Meter(
            budget,
            Priority.BATCH if batch else Priority.INTERACTIVE,
            max_wait=self.settings.max_wait,
            prefer_wait=self.settings.prefer_wait,
            clock=self.clock,
            ready=self.ready,
        )
