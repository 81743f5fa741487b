"""The composition of rate budgets: one for each credential that is to have one, and each client's part in it."""

import hmac
import random
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from proxy.budget.budget import Priority
from proxy.budget.ledger import User
from proxy.budget.local import LocalBudget
from proxy.budget.rates import Rate
from proxy.budget.shared import SharedBudget
from proxy.clock import Clock
from proxy.compose_credentials import REPLICA
from proxy.compose_engine import ledger
from proxy.config import ApiKeyCredential, Client, Config, OAuth2Credential, RateBudget
from proxy.credential.token_endpoint import owner_of
from proxy.forward.metered import Meter
from proxy.secret_reader import SecretReader
from proxy.secrets import SecretUnavailable
from proxy.tasks import Tasks

if TYPE_CHECKING:
    from proxy.compose import Snapshot

Budgets = Mapping[str, LocalBudget]  # by credential; one without is not counted

LABEL: Final = b"pandadoc-proxy rate budget of an API key"
"""What an API key is hashed with, for names that everybody who looks into a Redis may see."""


class BudgetParts(Struct, frozen=True):
    """What every budget is made from."""

    config: Config
    clock: Clock
    tasks: Tasks
    reader: SecretReader

    def all(
        self, earlier: "Snapshot | None", going_on: Mapping[str, str]
    ) -> tuple[Budgets, tuple[Callable[[], None], ...]]:
        """Make each credential's; one that there was goes on, for PandaDoc still counts what was sent.

        `going_on`: what those were called that lend on.
        """
        redis = self.config.rate_budget.redis
        known = {} if earlier is None or earlier.config.rate_budget.redis != redis else earlier.budgets
        budgets, changes = {}, []
        for name in self.config.credentials:
            rates = self.config.rate_budget.of(name)
            if rates:
                before = known.get(going_on[name]) if name in going_on else None
                user = partial(self.user, name)
                budgets[name] = before or self._budget(name, user)
                changes.append(partial(self._reconfigure, budgets[name], rates, user))
        return budgets, tuple(changes)

    def _budget(self, name: str, user: User) -> LocalBudget:
        settings = self.config.rate_budget
        if settings.redis is None:
            return LocalBudget(settings.of(name), self.clock.monotonic)
        answer = self.config.upstream.response_timeout
        process = f"{REPLICA}-{random.randbytes(3).hex()}"  # noqa: S311 - a name: two budgets may be of one user
        return SharedBudget(
            name,
            settings.of(name),
            self.clock.monotonic,
            ledger=ledger(settings.redis, user, self.reader, process=process, answer=answer),
            tasks=self.tasks,
            jitter=random.random,
            process=process,
            answer=answer,
        )

    def _reconfigure(self, budget: LocalBudget, rates: Mapping[str, Rate | None], user: User) -> None:
        """Go on with other settings; `user` names whose rates they are by what its credential is called now."""
        if isinstance(budget, SharedBudget):
            budget.belong(user)
            budget.reconfigure(rates, self.config.rate_budget.share)
        else:
            budget.resize(rates)

    async def user(self, name: str) -> str:
        """Name whose rate it is, the same in every process and without telling the key. Raises SecretUnavailable.

        One client's grants may be of several users: where there are several, each is known by its credential's name.
        """
        credential = self.config.credentials[name]
        if isinstance(credential, ApiKeyCredential):
            key = await self.reader.read(credential.api_key)
            return hmac.digest(LABEL, key.reveal().encode(), "sha256").hex()[:32]
        owner = await self._owner(credential)
        for other, grant in self.config.credentials.items():
            if other != name and await self._is_of(grant, credential, owner):
                return sha256(f"{owner}\n{name}".encode()).hexdigest()[:32]
        return owner

    async def _is_of(
        self, grant: ApiKeyCredential | OAuth2Credential, credential: OAuth2Credential, owner: str
    ) -> bool:
        """Tell whether a grant is of the client of `credential`, which is `owner`; read only where that may be."""
        if isinstance(grant, ApiKeyCredential) or grant.token_url != credential.token_url:
            return False
        if grant.client_id == credential.client_id:
            return True
        with suppress(SecretUnavailable):  # then it is lent to nobody
            return await self._owner(grant) == owner
        return False

    async def _owner(self, grant: OAuth2Credential) -> str:
        return owner_of(str(grant.token_url), await self.reader.read(grant.client_id))


def free(former: Iterable[Budgets], now: Budgets) -> None:
    """Have nobody wait any longer on what was switched off, whatever configuration they came with."""
    kept = set(now.values())  # with a grant's that goes on under another name
    for budgets in former:
        for name, budget in budgets.items():
            if name not in now and budget not in kept:
                budget.free()


class Meters(Struct, frozen=True):
    """What makes each client's part in a credential's budget."""

    budgets: Budgets
    settings: RateBudget
    clock: Clock

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
        )
