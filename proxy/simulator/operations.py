"""PandaDoc's operations on documents, each from its input to its answer, in the contract's shapes."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import cast

from proxy.simulator.answers import (
    TOO_LARGE,
    Answer,
    json_answer,
    not_ready,
    request_error,
    validation_error,
)
from proxy.simulator.documents import DRAFT, SENT, UPLOADED, Document, Documents, timestamp
from proxy.simulator.pdf import Pdf
from proxy.simulator.uploads import FIELD_BYTES, Part

# A body as it was read: bytes, the parts of an upload, or None for one too large to be parsed.
Content = bytes | tuple[Part, ...] | None

MEMBER: Mapping[str, object] = MappingProxyType(
    {
        "user_id": "FA5QAu8UGA3oVDDZuPL75B",
        "membership_id": "RyMNXBjBPRppi56TfYBrXi",
        "email": "member@example.com",
        "first_name": "Simulated",
        "last_name": "Member",
        "is_active": True,
        "workspace": "n7SK7prHeoWJSXb9VkrPve",
        "workspace_name": "Simulator",
        "email_verified": True,
        "role": "Admin",
        "user_license": "Full",
        "date_created": "2023-08-03T11:49:16.364213Z",
        "date_modified": "2024-07-11T20:36:43.362526Z",
    }
)
_DEFAULT_COUNT, _MAX_COUNT = "50", 100
_LARGEST_PDF = 1024**3  # of a download, which is the simulator's own
_LARGEST_UPLOAD = 50 * 1024 * 1024  # PandaDoc's limit for a file
_MOST_DIGITS = 18  # int() itself refuses thousands of them
_NOT_A_NUMBER = "A valid integer is required."
# PandaDoc's numbers for the status filter, as far as a document here can get.
_STATUS_NUMBERS: Mapping[str, str] = MappingProxyType({"0": DRAFT, "1": SENT, "3": UPLOADED})
_INFO = "You need to poll the Document Status method until the status will be changed to document.draft"


def list_documents(documents: Documents, query: Mapping[str, str]) -> Answer:
    """Answer a page of the newest documents, filtered by words of the name and by status."""
    numbers = {name: _number(query.get(name, usual)) for name, usual in (("count", _DEFAULT_COUNT), ("page", "1"))}
    count, page = numbers["count"], numbers["page"]
    if not count or not page:
        return validation_error(**{name: _NOT_A_NUMBER for name, number in numbers.items() if not number})
    start, size = (page - 1) * min(count, _MAX_COUNT), min(count, _MAX_COUNT)
    status = query.get("status", "")
    found = _matching(documents, query.get("q", ""), _STATUS_NUMBERS.get(status, status))
    return json_answer(200, {"results": found[start : start + size]})


def create_document(documents: Documents, content: Content) -> Answer:
    """Create from JSON, or from an upload's `file` and the JSON in its `data`."""
    if isinstance(content, tuple):
        if not any(part.name == "file" for part in content):
            return validation_error(file="No file was submitted.")
        if any(part.size > (_LARGEST_UPLOAD if part.is_file else FIELD_BYTES) for part in content):
            return TOO_LARGE
        content = next((bytes(part.value) for part in content if part.name == "data"), b"{}")
    if content is None:
        return TOO_LARGE
    fields = _json_object(content)
    if fields is None:
        return request_error(400, "JSON parse error")
    name = fields.get("name")
    if not isinstance(name, str) or not name:
        return validation_error(name="This field is required.")
    metadata = fields.get("metadata")
    document = documents.create(
        name,
        metadata=metadata if isinstance(metadata, dict) else {},
        recipients=_objects(fields.get("recipients")),
    )
    return json_answer(201, _created(document))


def document_status(documents: Documents, document: Document) -> Answer:
    return json_answer(200, document.summary(documents.poll(document)) | {"uuid": document.id})


def document_details(documents: Documents, document: Document) -> Answer:
    """Answer 409 of a document that is not there yet, as the contract declares."""
    status = documents.poll(document)
    if status == UPLOADED:
        return not_ready(document.id, status)
    return json_answer(200, _details(document, status))


def send_document(documents: Documents, document: Document, content: Content) -> Answer:
    """Send a draft; a document that is not one yet is answered 409."""
    if content is None:
        return TOO_LARGE
    if not isinstance(content, bytes) or (content and _json_object(content) is None):
        return request_error(400, "JSON parse error")
    status = documents.status(document)
    if status == UPLOADED:
        return not_ready(document.id, status)
    sent = documents.send(document)
    return json_answer(200, sent.summary(SENT) | {"uuid": sent.id, "recipients": list(sent.recipients)})


def download_document(documents: Documents, document: Document, size: str) -> Answer:
    """Answer a PDF of `size` bytes, a parameter of the simulator's own, for tests; 409 as `document_details` does."""
    number = _number(size)
    if number is None or number > _LARGEST_PDF:
        return validation_error(size=_NOT_A_NUMBER)
    status = documents.poll(document)
    if status == UPLOADED:
        return not_ready(document.id, status)
    headers = (
        ("Content-Type", "application/pdf"),
        ("Content-Disposition", f'attachment; filename="{document.id}.pdf"'),
    )
    return Answer(200, headers, pdf=Pdf(document.id, number))


def delete_document(documents: Documents, document: Document) -> Answer:
    documents.delete(document)
    return Answer(204)


def _matching(documents: Documents, words: str, status: str) -> list[dict[str, object]]:
    summaries = (
        document.summary(documents.status(document))
        for document in documents.newest_first()
        if words.casefold() in document.name.casefold()
    )
    return [summary for summary in summaries if not status or summary["status"] == status]


def _created(document: Document) -> dict[str, object]:
    href = f"https://api.pandadoc.com/public/v1/documents/{document.id}"
    return document.summary(UPLOADED) | {
        "uuid": document.id,
        "links": [{"rel": "status", "href": href, "type": "GET"}],
        "info_message": _INFO,
    }


def _details(document: Document, status: str) -> dict[str, object]:
    names = ("email", "first_name", "last_name", "membership_id")
    return (
        document.summary(status)
        | {
            "autonumbering_sequence_name_prefix": None,
            "content_date_modified": timestamp(document.modified_at),
            "date_sent": None if document.sent_at is None else timestamp(document.sent_at),
            "ref_number": "SIMUL-ATED0",
            "created_by": {"id": MEMBER["user_id"], "avatar": None} | {name: MEMBER[name] for name in names},
            "template": None,
            "metadata": dict(document.metadata),
            "recipients": list(document.recipients),
            "sent_by": None,
            "grand_total": {"amount": "0.00", "currency": "USD"},
            "approval_execution": None,
        }
        | {name: [] for name in ("tokens", "fields", "tables", "images", "texts", "tags", "linked_objects")}
    )


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else None


def _objects(value: object) -> tuple[Mapping[str, object], ...]:
    return tuple(each for each in value if isinstance(each, dict)) if isinstance(value, list) else ()


def _json_object(content: bytes) -> dict[str, object] | None:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, object]", value) if isinstance(value, dict) else None
