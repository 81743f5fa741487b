"""Law 11's second half, as a table: what may be sent again after its connection broke."""

from itertools import product

import pytest

from proxy.forward.resend import Sent, may_be_sent_again

ALL = [Sent(*each) for each in product((False, True), repeat=3)]


@pytest.mark.parametrize("sent", ALL, ids=repr)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST", "PATCH"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_send_that_broke(sent: Sent, method: str, *, whole: bool) -> None:
    idempotent = method not in {"POST", "PATCH"}
    stale = sent.reused and not sent.answered
    assert may_be_sent_again(sent, method, whole=whole) is (not sent.written or (stale and idempotent and whole))
