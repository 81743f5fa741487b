"""Which operation a path names. No socket, no credential: both were dealt with before.

Paths are compared as they came: nothing is decoded or collapsed, so `//public` and `%2F` are not found.
"""

from collections.abc import Callable, Mapping
from functools import partial
from urllib.parse import parse_qsl

from msgspec import Struct

from proxy.simulator import operations
from proxy.simulator.answers import Answer, documented, json_answer, request_error
from proxy.simulator.documents import Document, Documents
from proxy.simulator.operations import MEMBER, Content


class Call(Struct, frozen=True):
    """One API request whose credential is good."""

    method: str
    target: str
    content: Content = b""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def segments(self) -> list[str]:
        return self.path.split("/")

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))


_ByMethod = Mapping[str, Callable[[], Answer]]


class Api:
    """The routes. It holds the documents and changes nothing else."""

    def __init__(self, documents: Documents, document_size: int) -> None:
        self._documents = documents
        self._document_size = document_size  # bytes of a download that names no size

    def answer(self, call: Call) -> Answer:
        by_method = self._resource(call)
        if by_method is None:
            return documented(404, call.path)
        # HEAD is GET without content (RFC 9110 section 9.3.2); aiohttp and the exchange leave it out.
        operation = by_method.get("GET" if call.method == "HEAD" else call.method)
        if operation is None:
            detail = f'Method "{call.method}" not allowed.'
            return request_error(405, detail, ("Allow", ", ".join(by_method)))
        return operation()

    def _resource(self, call: Call) -> _ByMethod | None:
        match call.segments:
            case ["", "public", "v1", "members", "current"]:
                return {"GET": partial(json_answer, 200, dict(MEMBER))}
            case ["", "public", "v1", "documents"]:
                return {
                    "GET": partial(operations.list_documents, self._documents, call.query),
                    "POST": partial(operations.create_document, self._documents, call.content),
                }
            case ["", "public", "v1", "documents", document_id, *rest]:
                document = self._documents.find(document_id)
                return None if document is None else self._document_resource(document, rest, call)
            case _:
                return None

    def _document_resource(self, document: Document, rest: list[str], call: Call) -> _ByMethod | None:
        match rest:
            case []:
                return {
                    "GET": partial(operations.document_status, self._documents, document),
                    "DELETE": partial(operations.delete_document, self._documents, document),
                }
            case ["details"]:
                return {"GET": partial(operations.document_details, self._documents, document)}
            case ["send"]:
                return {"POST": partial(operations.send_document, self._documents, document, call.content)}
            case ["download"]:
                size = call.query.get("size", str(self._document_size))
                return {"GET": partial(operations.download_document, self._documents, document, size)}
            case _:
                return None

    def __repr__(self) -> str:
        return f"<Api over {self._documents!r}>"
