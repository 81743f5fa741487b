"""A document's life, by a clock that is passed in."""

from proxy.simulator.documents import Documents, timestamp


def test_a_document_turns_to_draft_when_its_time_has_come() -> None:
    now = [100.0]
    documents = Documents(clock=lambda: now[0], draft_after=3.0, draft_after_polls=None)
    document = documents.create("Contract")
    now[0] = 102.9
    assert documents.status(document) == "document.uploaded"
    now[0] = 103.0
    assert documents.status(document) == "document.draft"


def test_with_polls_to_wait_for_the_clock_decides_nothing() -> None:
    now = [0.0]
    documents = Documents(clock=lambda: now[0], draft_after=3.0, draft_after_polls=2)
    document_id = documents.create("Contract").id
    now[0] = 1e6
    seen = []
    for _ in range(3):
        document = documents.find(document_id)
        assert document is not None
        seen.append(documents.poll(document))
    assert seen == ["document.uploaded", "document.uploaded", "document.draft"]


def test_no_polls_to_wait_for_is_a_draft_at_once() -> None:
    documents = Documents(clock=lambda: 0.0, draft_after=3.0, draft_after_polls=0)
    assert documents.status(documents.create("Contract")) == "document.draft"


def test_a_document_that_was_sent_stays_sent_and_keeps_its_time() -> None:
    now = [10.0]
    documents = Documents(clock=lambda: now[0], draft_after=0.0, draft_after_polls=None)
    sent = documents.send(documents.create("Contract"))
    now[0] = 20.0
    assert documents.send(sent) is sent
    assert documents.status(sent) == "document.sent"
    assert sent.sent_at == 10.0


def test_the_newest_document_comes_first_and_a_deleted_one_not_at_all() -> None:
    documents = Documents(clock=lambda: 0.0, draft_after=0.0, draft_after_polls=None)
    first, second, third = (documents.create(name) for name in ("first", "second", "third"))
    documents.delete(second)
    assert documents.newest_first() == (third, first)
    assert documents.find(second.id) is None


def test_times_are_written_as_pandadoc_writes_them() -> None:
    assert timestamp(0.5) == "1970-01-01T00:00:00.500000Z"


def test_a_sent_document_expires_after_sixty_days_and_a_draft_never() -> None:
    documents = Documents(clock=lambda: 0.0, draft_after=0.0, draft_after_polls=None)
    draft = documents.create("Contract")
    sent = documents.send(draft)
    assert draft.summary("document.draft")["expiration_date"] is None
    assert sent.summary("document.sent")["expiration_date"] == "1970-03-02T00:00:00.000000Z"
