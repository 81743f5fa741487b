"""What each operation on documents answers."""

import json

import pytest

from proxy.simulator import operations
from proxy.simulator.answers import Answer
from proxy.simulator.documents import Document, Documents
from proxy.simulator.uploads import Part


def _documents() -> Documents:
    return Documents(clock=lambda: 0.0, draft_after=0.0, draft_after_polls=1)


def _names(answer: Answer) -> list[str]:
    return [document["name"] for document in json.loads(answer.body)["results"]]


def _only(documents: Documents) -> Document:
    (document,) = documents.newest_first()
    return document


def test_a_list_is_fifty_of_the_newest_documents() -> None:
    documents = _documents()
    for number in range(60):
        documents.create(str(number))
    assert _names(operations.list_documents(documents, {})) == [str(number) for number in range(59, 9, -1)]


def test_count_and_page_cut_the_list_and_a_hundred_is_the_most() -> None:
    documents = _documents()
    for number in range(120):
        documents.create(str(number))
    assert _names(operations.list_documents(documents, {"count": "2", "page": "3"})) == ["115", "114"]
    assert len(_names(operations.list_documents(documents, {"count": "1000"}))) == 100
    assert len(_names(operations.list_documents(documents, {"count": "1000", "page": "2"}))) == 20


@pytest.mark.parametrize("wrong", ["", "0", "-1", "x", "1.5", "9" * 5000])
def test_a_count_that_is_no_number_is_a_validation_error_that_names_it(wrong: str) -> None:
    answer = operations.list_documents(_documents(), {"count": wrong})
    payload = {"type": "validation_error", "detail": {"count": ["A valid integer is required."]}}
    assert (answer.status, json.loads(answer.body)) == (400, payload)


def test_q_looks_for_words_of_the_name_in_any_case() -> None:
    documents = _documents()
    for name in ("Offer", "Contract A", "contract b"):
        documents.create(name)
    assert _names(operations.list_documents(documents, {"q": "CONTRACT"})) == ["contract b", "Contract A"]


@pytest.mark.parametrize(("status", "names"), [("0", ["draft"]), ("3", ["new"]), ("2", []), ("", ["new", "draft"])])
def test_status_filters_by_pandadocs_numbers(status: str, names: list[str]) -> None:
    documents = _documents()
    documents.poll(documents.create("draft"))
    documents.create("new")
    assert _names(operations.list_documents(documents, {"status": status})) == names


def test_a_document_is_created_from_json_as_uploaded() -> None:
    documents = _documents()
    answer = operations.create_document(documents, b'{"name": "Contract", "metadata": {"a": 1}}')
    payload = json.loads(answer.body)
    assert (answer.status, payload["status"], payload["name"]) == (201, "document.uploaded", "Contract")
    assert payload["links"][0]["href"] == f"https://api.pandadoc.com/public/v1/documents/{payload['id']}"
    assert _only(documents).metadata == {"a": 1}


def test_a_document_is_created_from_an_upload_named_in_its_data() -> None:
    documents = _documents()
    parts = (Part("file", is_file=True, size=5), Part("data", value=bytearray(b'{"name": "Scan"}')))
    assert operations.create_document(documents, parts).status == 201
    assert _only(documents).name == "Scan"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "request_error"),
        (b"{", "request_error"),
        (b"[]", "request_error"),
        (b"\x1f\x8b\x08", "request_error"),
        (b"[" * 100_000, "request_error"),
        (b"{}", "validation_error"),
        (b'{"name": ""}', "validation_error"),
        (b'{"name": 5}', "validation_error"),
        ((), "validation_error"),
        ((Part("data", value=bytearray(b'{"name": "x"}')),), "validation_error"),
        ((Part("file", is_file=True),), "validation_error"),
    ],
)
def test_a_document_that_cannot_be_created_is_a_400(content: operations.Content, kind: str) -> None:
    documents = _documents()
    answer = operations.create_document(documents, content)
    assert (answer.status, json.loads(answer.body)["type"]) == (400, kind)
    assert len(documents) == 0


def test_a_body_too_large_to_be_parsed_is_413() -> None:
    documents = _documents()
    assert operations.create_document(documents, None).status == 413
    assert operations.send_document(documents, documents.create("x"), None).status == 413


def test_a_file_above_fifty_mebibytes_is_413() -> None:
    documents = _documents()
    limit = 50 * 1024 * 1024
    data = Part("data", value=bytearray(b'{"name": "Scan"}'))
    for size, status in ((limit, 201), (limit + 1, 413)):
        file = Part("file", is_file=True, size=size)
        assert operations.create_document(documents, (file, data)).status == status
    assert len(documents) == 1


def test_a_field_beside_the_file_that_is_above_two_mebibytes_is_413() -> None:
    documents = _documents()
    for size, status in ((2 * 1024 * 1024, 201), (2 * 1024 * 1024 + 1, 413)):
        data = Part("data")
        data.feed(b'{"name": "Scan"}'.ljust(size))
        assert operations.create_document(documents, (Part("file", is_file=True, size=5), data)).status == status
    assert len(documents) == 1


def test_sending_too_early_is_409_with_the_status_that_stands_in_the_way() -> None:
    documents = _documents()
    document = documents.create("Contract")
    answer = operations.send_document(documents, document, b"")
    payload = json.loads(answer.body)
    assert (answer.status, payload["id"], payload["status"]) == (409, document.id, "document.uploaded")
    assert "document.uploaded" in payload["info_message"]


def test_a_draft_is_sent_and_sending_it_again_changes_nothing() -> None:
    documents = _documents()
    documents.poll(documents.create("Contract", recipients=({"email": "a@example.com"},)))
    first = operations.send_document(documents, _only(documents), b'{"silent": true}')
    second = operations.send_document(documents, _only(documents), b"{}")
    assert (first.status, first.body) == (200, second.body)
    payload = json.loads(first.body)
    assert (payload["status"], payload["recipients"]) == ("document.sent", [{"email": "a@example.com"}])


def test_a_send_that_is_no_json_is_a_400_and_sends_nothing() -> None:
    documents = _documents()
    documents.poll(documents.create("Contract"))
    assert operations.send_document(documents, _only(documents), b"silent=true").status == 400
    assert _only(documents).sent_at is None


def test_details_say_what_status_says_and_more() -> None:
    documents = _documents()
    document = documents.create("Contract", metadata={"a": "b"})
    status = json.loads(operations.document_status(documents, document).body)
    details = json.loads(operations.document_details(documents, _only(documents)).body)
    assert (status["status"], details["status"]) == ("document.uploaded", "document.draft")
    assert (details["metadata"], details["id"]) == ({"a": "b"}, document.id)


def test_a_document_that_is_not_there_yet_is_409_to_who_downloads_it_and_that_counts_as_a_poll() -> None:
    documents = _documents()
    early = operations.download_document(documents, documents.create("Contract"), "5")
    assert (early.status, json.loads(early.body)["status"]) == (409, "document.uploaded")
    draft = operations.download_document(documents, _only(documents), "5")
    assert (draft.status, draft.pdf and draft.pdf.size) == (200, 5)


@pytest.mark.parametrize("size", ["", "-1", "x", str(2**30 + 1), "9" * 5000])
def test_a_download_of_an_impossible_size_is_a_400(size: str) -> None:
    documents = _documents()
    assert operations.download_document(documents, documents.create("Contract"), size).status == 400


def test_a_deleted_document_is_gone() -> None:
    documents = _documents()
    document = documents.create("Contract")
    assert operations.delete_document(documents, document).status == 204
    assert documents.find(document.id) is None
