"""What is remembered of requests that are over: a quarter hour, twelve kinds of trouble, and never more."""

import sys
from typing import Any

from proxy.forward.exchange import Exchange
from proxy.forward.headers import Head
from proxy.page.recent import KINDS, Recent
from proxy.page.traffic import SECONDS, SLOTS

DENIED = "http_request_denied: The policy refuses it."


class Watch:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def over(watch: Watch, path: str = "/public/v1/documents", took: float = 0.1, **changes: Any) -> Exchange:
    exchange = Exchange(Head("GET", path, (1, 1), ()), watch, "127.0.0.1:8080")
    exchange.started -= took
    for name, value in {"status": 200, **changes}.items():
        setattr(exchange, name, value)
    return exchange


def counts(recent: Recent) -> dict[int, list[int]]:
    """Return what the slots hold that hold anything, by how many slots ago."""
    return {SLOTS - 1 - at: slot.ends for at, slot in enumerate(recent.slots()) if slot}


def test_requests_fall_into_the_slots_in_which_they_ended() -> None:
    watch = Watch()
    recent = Recent(watch)
    for status in (200, 302, 404):
        recent.ended(over(watch, status=status))
    watch.time += SECONDS
    recent.ended(over(watch, status=500))
    watch.time += 2 * SECONDS
    recent.ended(over(watch, unfinished=True))
    assert counts(recent) == {3: [2, 1, 0], 2: [0, 0, 1], 0: [0, 0, 1]}
    latest = recent.slots()[-1]
    assert latest is not None
    assert 0.08 < latest.within(0.5) < 0.12


def test_after_a_quarter_hour_it_is_forgotten() -> None:
    watch = Watch()
    recent = Recent(watch)
    recent.ended(over(watch))
    watch.time += SECONDS * (SLOTS - 1)
    assert counts(recent) == {SLOTS - 1: [1, 0, 0]}
    watch.time += SECONDS
    assert counts(recent) == {}
    recent.ended(over(watch))
    assert counts(recent) == {0: [1, 0, 0]}


def test_years_of_traffic_take_no_more_memory_than_a_quarter_hour() -> None:
    watch = Watch()
    recent = Recent(watch)
    for _ in range(5 * SLOTS):
        watch.time += SECONDS
        recent.ended(over(watch))
    assert repr(recent) == f"<Recent {SLOTS} slots, 0 troubles>"
    held = sum(sys.getsizeof(slot.took) + sys.getsizeof(slot.ends) for slot in recent.slots() if slot)
    assert held < 100_000


def test_a_trouble_that_comes_again_is_the_same_one() -> None:
    """Else a flood of one would hide all others."""
    watch = Watch()
    recent = Recent(watch)
    recent.ended(over(watch, status=502, error="dns_error", fault="dns_error: PandaDoc has no address."))
    for number in range(1000):
        watch.time += 0.5
        recent.ended(over(watch, f"/public/v1/documents/{number}", status=403, error="denied", fault=DENIED))
    watch.time += 7
    latest, other = recent.troubles()
    assert (latest.status, latest.count, latest.path, latest.age) == (403, 1000, "/public/v1/documents/999", 7)
    assert (other.status, other.error, other.count, other.age) == (502, "dns_error", 1, 507)


def refused(method: str, by: str) -> dict[str, Any]:
    fault = f"http_request_denied: The proxy's policy refuses {method} on this path ({by}). Whoever runs the proxy can."
    return {"method": method, "status": 403, "error": "http_request_denied", "fault": fault}


def test_a_trouble_of_which_a_word_varies_is_the_same_one() -> None:
    """One client that goes on in a pause, or tries method after method, hides no other; the latest word is told."""
    watch = Watch()
    recent = Recent(watch)
    recent.ended(over(watch, status=502, error="dns_error", fault="dns_error: PandaDoc has no address."))
    for left in range(60, 0, -1):
        fault = f"http_request_denied: PandaDoc has answered 429, so list pauses for {left} s, and no more."
        recent.ended(over(watch, status=429, error="http_request_denied", fault=fault))
    for number in range(3 * KINDS):
        recent.ended(over(watch, **refused(f"M{number}", "policy: otherwise: deny")))
    latest, pause, other = recent.troubles()
    assert (latest.method, latest.count) == (f"M{3 * KINDS - 1}", 3 * KINDS)
    assert f"refuses {latest.method} on" in latest.fault
    assert (pause.fault.partition(" for ")[2], pause.count) == ("1 s, and no more.", 60)
    assert other.status == 502


def test_what_two_rules_refuse_are_two_troubles() -> None:
    watch = Watch()
    recent = Recent(watch)
    for method in ("POST", "DELETE", "POST"):
        recent.ended(over(watch, **refused(method, f"policy: deny {method} /**")))
    assert [(each.method, each.count) for each in recent.troubles()] == [("POST", 2), ("DELETE", 1)]


def test_the_latest_kinds_are_kept_and_no_more_of_them() -> None:
    watch = Watch()
    recent = Recent(watch)
    for number in range(3 * KINDS):
        recent.ended(over(watch, status=502, fault=f"fault {number}"))
    recent.ended(over(watch, status=502, fault=f"fault {2 * KINDS}"))  # it came before, and comes to the front
    told = [trouble.fault for trouble in recent.troubles()]
    assert told[:2] == [f"fault {2 * KINDS}", f"fault {3 * KINDS - 1}"]
    assert len(told) == KINDS


def test_what_pandadoc_refuses_is_told_where_it_is_about_the_credential() -> None:
    watch = Watch()
    recent = Recent(watch)
    for status in (200, 302, 400, 401, 403, 404, 422, 429, 500, 503):
        recent.ended(over(watch, status=status))
    assert [trouble.status for trouble in recent.troubles()] == [503, 500, 429, 403, 401]


def test_a_caller_that_hangs_up_is_nobodys_trouble() -> None:
    watch = Watch()
    recent = Recent(watch)
    recent.ended(over(watch, status=499, fault="the caller hung up"))
    assert recent.troubles() == ()
    assert counts(recent) == {0: [0, 1, 0]}
