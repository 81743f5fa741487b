"""An answer as a value, and the error bodies that PandaDoc documents."""

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType

from proxy.simulator.journal import TOKEN_PATH
from proxy.simulator.pdf import Pdf

JSON_TYPE = ("Content-Type", "application/json")
# What PandaDoc's own error says of a document that is not there yet, shortened by its link.
NOT_READY = (
    "Warning - Document status document.uploaded doesn\u2019t mean that the document already exists - "
    "processing happens asynchronously."
)


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """A status, its header lines, and either bytes or a PDF to be streamed.

    Its repr has the status only: a Location may hold a code, and a body tokens.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    pdf: Pdf | None = None

    def __repr__(self) -> str:
        return f"<Answer {self.status}>"


class Cut(enum.Enum):
    """No answer at all: the connection ends instead."""

    CLOSE = "closed"
    RESET = "reset"
    NEVER = "closed when its caller has left"


def json_answer(status: int, payload: object, *headers: tuple[str, str]) -> Answer:
    return Answer(status, (JSON_TYPE, *headers), json.dumps(payload).encode())


def request_error(status: int, detail: object, *headers: tuple[str, str]) -> Answer:
    return json_answer(status, {"type": "request_error", "detail": detail}, *headers)


def validation_error(**fields: str) -> Answer:
    """Answer 400, with one message per field."""
    detail = {field: [message] for field, message in fields.items()}
    return json_answer(400, {"type": "validation_error", "detail": detail})


def authentication_error(detail: str) -> Answer:
    return json_answer(401, {"type": "authentication_error", "detail": detail})


def not_ready(document_id: str, status: str) -> Answer:
    return json_answer(409, {"id": document_id, "status": status, "info_message": NOT_READY})


NOT_FOUND = request_error(404, "Not found")
TOO_LARGE = request_error(413, "Request body is too large.")
UNAUTHENTICATED = authentication_error("Authentication credentials were not provided.")

_DOCUMENTED: Mapping[int, Answer] = MappingProxyType(
    {
        202: Answer(202, (("Retry-After", "5"),)),  # the number is the contract's example
        400: json_answer(400, {"type": "validation_error", "detail": {}}),
        401: UNAUTHENTICATED,
        403: json_answer(
            403,
            {"type": "permissions_error", "detail": "You do not have permission to perform this action."},
        ),
        404: NOT_FOUND,
        405: request_error(405, "Method not allowed."),
        409: not_ready("mXpGsEBHdSFW97zKXq75hm", "document.uploaded"),
        413: TOO_LARGE,
        423: json_answer(423, {"type": "document_locked", "detail": "Document is locked for editing."}),
        429: json_answer(429, {"type": "throttled", "detail": "Request was throttled."}),
    }
)
_V2_PREFIXES = ("/public/beta/", "/public/v2/")
_V2_CODES = {400: "bad_request", 401: "unauthorized", 403: "forbidden", 404: "not_found", 429: "too_many_requests"}
_DOCUMENTED_IN_V2: Mapping[int, Answer] = MappingProxyType(
    {status: json_answer(status, {"code": code, "details": []}) for status, code in _V2_CODES.items()}
)
_DOCUMENTED_FOR_TOKENS: Mapping[int, Answer] = MappingProxyType(
    {
        400: json_answer(400, {"error": "invalid_grant"}),
        401: json_answer(401, {"error": "invalid_client"}),
    }
)


def speaks_v2(path: str) -> bool:
    """Tell whether errors have the shape of /public/beta and /public/v2 there."""
    return path.startswith(_V2_PREFIXES)


def documented(status: int, path: str) -> Answer:
    """Return what PandaDoc says with this status there; a CDN's page for a 5xx, nothing for the undocumented."""
    if path == TOKEN_PATH and status in _DOCUMENTED_FOR_TOKENS:
        return _DOCUMENTED_FOR_TOKENS[status]
    if speaks_v2(path) and status in _DOCUMENTED_IN_V2:
        return _DOCUMENTED_IN_V2[status]
    if status in _DOCUMENTED:
        return _DOCUMENTED[status]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        page = f"<html><head><title>{status}</title></head><body>Incapsula incident</body></html>"
        return Answer(status, (("Content-Type", "text/html"),), page.encode())
    return Answer(status)
