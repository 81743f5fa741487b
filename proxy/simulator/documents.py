"""Documents and their life: uploaded, a while later draft, then sent. Values and time, no HTTP."""

import secrets
import string
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from msgspec import Struct
from msgspec.structs import replace

UPLOADED, DRAFT, SENT = "document.uploaded", "document.draft", "document.sent"
_ID_LETTERS = string.ascii_letters + string.digits
_ID_LENGTH = 22
_EXPIRES_AFTER_S = 60 * 24 * 3600  # PandaDoc's default: a sent document waits sixty days


class Document(Struct, frozen=True):
    """One document as it is at this moment; times are seconds since the epoch."""

    id: str
    name: str
    created_at: float
    modified_at: float
    metadata: Mapping[str, object]
    recipients: tuple[Mapping[str, object], ...]
    polls: int = 0
    sent_at: float | None = None

    def summary(self, status: str) -> dict[str, object]:
        """Return the fields that every answer about a document shares."""
        return {
            "id": self.id,
            "name": self.name,
            "status": status,
            "date_created": timestamp(self.created_at),
            "date_modified": timestamp(self.modified_at),
            "date_completed": None,
            "expiration_date": None if self.sent_at is None else timestamp(self.sent_at + _EXPIRES_AFTER_S),
            "version": None if status == UPLOADED else "2",
        }


class Documents:
    """All documents of the one workspace.

    The mutable state is the dict of documents, newest last; only the methods below change it.
    """

    def __init__(self, *, clock: Callable[[], float], draft_after: float, draft_after_polls: int | None) -> None:
        self._clock = clock
        self._draft_after = draft_after  # seconds
        self._draft_after_polls = draft_after_polls  # counts instead of seconds, if set
        self._documents: dict[str, Document] = {}

    def create(
        self,
        name: str,
        *,
        metadata: Mapping[str, object] | None = None,
        recipients: tuple[Mapping[str, object], ...] = (),
    ) -> Document:
        document_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))
        now = self._clock()
        document = Document(document_id, name, now, now, metadata or {}, recipients)
        self._documents[document_id] = document
        return document

    def find(self, document_id: str) -> Document | None:
        return self._documents.get(document_id)

    def newest_first(self) -> tuple[Document, ...]:
        return tuple(reversed(self._documents.values()))

    def status(self, document: Document) -> str:
        if document.sent_at is not None:
            return SENT
        if self._draft_after_polls is not None:
            return DRAFT if document.polls >= self._draft_after_polls else UPLOADED
        return DRAFT if self._clock() >= document.created_at + self._draft_after else UPLOADED

    def poll(self, document: Document) -> str:
        """Return the status and count that it was asked for: N polls see `document.uploaded`."""
        status = self.status(document)
        self._documents[document.id] = replace(document, polls=document.polls + 1)
        return status

    def send(self, document: Document) -> Document:
        """Mark a document as sent; sending it again changes nothing."""
        if document.sent_at is not None:
            return document
        now = self._clock()
        sent = replace(document, sent_at=now, modified_at=now)
        self._documents[document.id] = sent
        return sent

    def delete(self, document: Document) -> None:
        del self._documents[document.id]

    def __len__(self) -> int:
        return len(self._documents)

    def __repr__(self) -> str:
        return f"<Documents {len(self)}>"


def timestamp(seconds: float) -> str:
    """Write a time as PandaDoc does."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
