"""What the guard costs each request, in microseconds: `python bench/guard_cost.py`.

Admission (host, page, target), the readings of the path, the client's key among three, and a policy of twenty rules
beside the operations that are closed by default. One thread, nothing on the network; the least of several rounds.
"""

import asyncio
import sys
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from proxy.compose_policy import policy_of, policy_of_all
from proxy.config import Config, Policy
from proxy.forward.clients import presented
from proxy.forward.guard import Gate, admit, readings_of
from proxy.forward.headers import Head
from proxy.keyring import ClientKey, Keyring
from proxy.policy.pattern import Pattern
from proxy.policy.policy import Rule
from proxy.secret_reader import SecretReader
from proxy.secrets import SecretReference

KEY: Final = "billing-0123456789abcdef"
FIELDS: Final = (
    (b"Host", b"localhost:8080"),
    (b"User-Agent", b"OpenAPI-Generator/6.2.0/python"),
    (b"Accept-Encoding", b"gzip, deflate"),
    (b"Accept", b"application/json"),
    (b"Connection", b"keep-alive"),
    (b"Authorization", b"API-Key " + KEY.encode()),
)
PLAIN: Final = "/public/v1/documents/BhVzRcxH9Z2LgfPPGXFUBa/details?flag=1"
ENCODED: Final = "/public/v1/documents/BhVzRcxH9Z2LgfPPGXFUBa/%64etails?flag=1"
ROUNDS: Final = 7
CALLS: Final = 20_000


def twenty_rules() -> Policy:
    """Return a policy whose last of twenty rules fits."""
    denied = (Rule(allows=False, pattern=Pattern.parse(f"POST /public/v1/things-{n}/*/send")) for n in range(19))
    return Policy(rules=(*denied, Rule(allows=True, pattern=Pattern.parse("GET /public/**"))), otherwise="deny")


def microseconds(work: Callable[[], object]) -> float:
    return min(timeit.repeat(work, number=CALLS, repeat=ROUNDS)) / CALLS * 1e6


async def main() -> None:
    """Time each part, and the whole."""
    gate, default = Gate(), policy_of_all(Config(credentials={}))
    policy = default + policy_of(twenty_rules(), "policy")
    names = ("billing", "reports", "drafts")
    keys = {name: ClientKey(SecretReference.literal(KEY.replace("billing", name), ""), 0.0) for name in names}
    keyring = Keyring(keys, SecretReader(), lambda: 0.0)
    await keyring.look()

    def known() -> str | None:
        (key,) = presented(FIELDS)
        try:
            keyring.holder(key).send(None)
        except StopIteration as found:
            return str(found.value)
        raise AssertionError("a known key needs no wait")

    def rows(target: str) -> dict[str, Callable[[], object]]:
        head = Head("GET", target, (1, 1), FIELDS)
        readings = readings_of(target, gate)
        return {
            "admission": lambda: admit(head, gate),
            "readings": lambda: readings_of(target, gate),
            "what is closed by default": lambda: default.objections("GET", readings),
            "that and twenty rules": lambda: policy.objections("GET", readings),
        }

    assert known() == "billing"
    timed = {f"{what}, plain path": microseconds(work) for what, work in rows(PLAIN).items()}
    timed |= {f"{what}, encoded path": microseconds(work) for what, work in rows(ENCODED).items()}
    timed["one key of three clients"] = microseconds(known)
    for what, cost in timed.items():
        print(f"{cost:7.2f} µs  {what}")


if __name__ == "__main__":
    asyncio.run(main())
