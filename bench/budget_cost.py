"""What a rate budget costs each request, in microseconds: `python bench/budget_cost.py`.

Off, it is two looks at an attribute. On: finding what a request is counted by, a slot and its return, and the two
fields that tell what is left. One thread, nothing on the network; the least of several rounds.
"""

import sys
import timeit
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from proxy.budget.budget import Priority
from proxy.budget.calls import call
from proxy.budget.local import LocalBudget
from proxy.budget.rates import AUTO, Rate
from proxy.clock import SystemClock
from proxy.forward.clients import Client
from proxy.forward.headers import Head
from proxy.forward.metered import Meter
from proxy.forward.places import Places
from proxy.policy.paths import readings
from proxy.policy.policy import Policy

TARGET: Final = "/public/v1/documents/BhVzRcxH9Z2LgfPPGXFUBa/details?flag=1"
FIELDS: Final = ((b"Host", b"localhost:8080"), (b"Accept", b"application/json"))
ROUNDS: Final = 7
CALLS: Final = 20_000
PLENTY: Final = Rate(1_000_000, 0.05)
"""Of which a slot comes back soon, so that taking one also finds some to be had again."""


def microseconds(work: Callable[[], object]) -> float:
    return min(timeit.repeat(work, number=CALLS, repeat=ROUNDS)) / CALLS * 1e6


def done(work: Coroutine[Any, Any, Any]) -> Any:
    """Run what needs no wait."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waited")


def main() -> None:
    """Time each part, and the whole."""
    clock = SystemClock()
    budget = LocalBudget({**AUTO, "details": PLENTY}, clock.monotonic)
    meter = Meter(budget, Priority.INTERACTIVE, max_wait=65, prefer_wait=60, clock=clock)
    client = Client("", None, Policy(), Places(None, ""))  # type: ignore[arg-type]  # it is lent nothing here
    head = Head("GET", TARGET, (1, 1), FIELDS)
    path, _, query = TARGET.partition("?")
    found = readings(path)
    asked = meter.turn(head, found, TARGET, lambda: True)

    def slot() -> None:
        done(budget.take("details", Priority.INTERACTIVE, 65)).answered()

    def whole() -> None:
        turn = meter.turn(head, found, TARGET, lambda: True)
        done(turn.take(Priority.INTERACTIVE))
        turn.settle(None)
        turn.fields()

    timed = {
        "off: is there a meter, is there a turn": microseconds(
            lambda: client.meter is not None or client.meter is not None
        ),
        "what the request is counted by": microseconds(lambda: call("GET", found, query)),
        "a slot, and its return": microseconds(slot),
        "the two fields of the answer": microseconds(asked.fields),
        "all of it": microseconds(whole),
    }
    for what, cost in timed.items():
        print(f"{cost:7.2f} µs  {what}")


if __name__ == "__main__":
    main()
