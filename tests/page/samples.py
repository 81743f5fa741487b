"""Values for the page's tables: credentials in every condition, a quarter hour of traffic, a whole view."""

from typing import Final

from msgspec.structs import replace

from proxy.credential.credential import Credential
from proxy.credential.ledger import REFRESHED, Attempt, Grant, Ledger, Lineage
from proxy.credential.status import Running, api_key_status, lent_key_status, running_status
from proxy.page.recent import Trouble
from proxy.page.standing import Besides, Lending
from proxy.page.traffic import SLOTS, End, Slot, Slots
from proxy.page.view import View
from proxy.secrets import Secret

NOW: Final = 1_790_000_000.0
DAY: Final = 86400.0

MINTED: Final = NOW - 300 * DAY
LENT: Final = Credential("Bearer x", 3, stale_at=NOW + 30 * DAY, expires_at=NOW + 65 * DAY)
LEDGER: Final = Ledger(
    Grant(3, Lineage("login", "0123456789ab", MINTED), Secret("r" * 40), Secret("a" * 40), MINTED, LENT.expires_at),
    last=Attempt(MINTED, REFRESHED),
)
WELL: Final = Running("fresh", LENT, trouble="", stored=True, store="/state/grant.json")
GRANT: Final = running_status("default", LEDGER, WELL, NOW)
FRESH: Final = Lending(GRANT, refreshes={"refreshed": 1})
STALE: Final = Lending(replace(GRANT, credential="sales", state="stale", expires_at=NOW + 5 * DAY, expires_in=5 * DAY))
EXPIRED: Final = Lending(replace(GRANT, state="expired", expires_at=NOW - 300, expires_in=-300.0))
DYING: Final = Lending(replace(GRANT, health="dead", state="dead", advice="Run `pandadoc-proxy login`."))
DEAD: Final = Lending(
    replace(DYING.status, credential="eu", expires_at=NOW - DAY, expires_in=-DAY),
    refreshes={"refreshed": 2, "invalid_grant": 1},
)
FAILING: Final = Lending(replace(GRANT, health="failing", advice="The last refresh failed (timeout)."))
BLIND: Final = Lending(replace(GRANT, credential="legal", health="failing", advice="It can't be read."), blind=True)
UNASKED: Final = Lending(running_status("later", Ledger(), replace(WELL, state="expired", lent=None, store=""), NOW))
KEY: Final = Lending(api_key_status("archive", "$KEY", None))
REFUSED_KEY: Final = Lending(lent_key_status("archive", "$KEY", 1, "", "PandaDoc refused the API key."))
UNREAD_KEY: Final = Lending(lent_key_status("archive", "./key", 1, "There is no file ./key.", ""))

TROUBLE: Final = Trouble(
    status=503,
    error="proxy_configuration_error",
    fault="proxy_configuration_error: Credential eu has no refresh token. Run `pandadoc-proxy login`.",
    listener="127.0.0.1:8080",
    client="billing",
    method="GET",
    path="/public/v1/documents",
    age=4.2,
    count=1204,
)


def slot(*requests: tuple[End, float]) -> Slot:
    """Return a slot in which requests were over, by how they ended and in how many seconds."""
    filled = Slot(0)
    for end, seconds in requests:
        filled.add(end, seconds)
    return filled


def slots(*last: Slot | None) -> Slots:
    """Return a quarter hour that ends so; before that, nothing was over."""
    return [*[None] * (SLOTS - len(last)), *last]


VIEW: Final = View(
    at=NOW,
    version="1.2.3",
    upstream="https://api.pandadoc.com",
    ready=True,
    uptime=4 * DAY,
    in_flight=1,
    busy=2,
    most=100,
    lendings=(FRESH,),
    besides=Besides(),
    budgets={},
    slots=slots(slot((0, 0.1))),
    troubles=(TROUBLE,),
)
