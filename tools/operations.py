"""Make proxy/policy's data from PandaDoc's OpenAPI contract: its operations, and the profiles that follow from them.

    python tools/operations.py ../shared/pandadoc-openapi.yaml            write both files
    python tools/operations.py ../shared/pandadoc-openapi.yaml --check    exit 1 if they would change

What the contract can't say is said here: which operations send, delete, only read, or hand out a credential. Each
was read and judged for this, last in version 8.8.0. A new operation that is no GET, or
whose answer has something that is named like a secret, stops the run until somebody has judged it.
So is by which of PandaDoc's rates an operation is counted; a new one is counted with the others.
Of the contract only ids, methods, paths and statuses are taken, never its prose.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, Final

import click
import yaml

POLICY: Final = Path(__file__).parents[1] / "proxy" / "policy"

METHODS: Final = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})
"""The keys of a path item that are operations (OpenAPI 3.0.3, Path Item Object); others are parameters and the like."""

READS: Final = {
    "batchGetDocumentAiMetadata": "a POST only because it takes many ids; it looks up what is there and starts nothing",
}

SENDS: Final = {
    "addDocumentRecipient": "once a document was sent, a new recipient is told at once",
    "addMember": "can mail the user and the workspace's admins",
    "changeDocumentStatus": "can mail every recipient",
    "changeDocumentStatusWithUpload": "can mail every recipient",
    "createDocumentEditingSession": "its token opens the editor past this proxy, and a person there may send",
    "createDocumentLink": "lets whoever holds the link read and sign as the recipient",
    "createManualReminder": "mails or texts the recipients",
    "createNotarizationRequest": "invites signers and a notary by mail",
    "createUser": "can mail the user and the workspace's admins",
    "deleteNotarizationRequest": "tells the invitees by mail, unless that was turned off when it was made",
    "editDocumentRecipient": "a changed address or a new group member of a sent document is told at once",
    "reassignDocumentRecipient": "puts another signer on a document that may have been sent",
    "sendDocument": "this is what sending is; with silent, too, recipients can open the document from then on",
    "updateDocumentAutoReminderSettings": "reminders go out later by themselves",
    "uploadSection": "names recipients; one without a role is said to get a link for viewing",
    "uploadSectionWithUpload": "names recipients; one without a role is said to get a link for viewing",
}
"""What reaches a person, or may: also where a parameter of the request decides, for a policy sees no parameters."""

DELETES: Final = {
    "bulkDeleteDocuments": "documents",
    "createApiKey": "the workspace's key of the same type is dead from then on",
    "deactivateWorkspace": "takes all members out of the workspace and closes it",
    "deleteCatalogItem": "a product",
    "deleteContact": "a contact",
    "deleteDocument": "a document",
    "deleteDocumentAttachment": "an attachment",
    "deleteDocumentRecipient": "a recipient, and their access",
    "deleteLinkedObject": "a document's link to a CRM",
    "deleteNotarizationRequest": "a notarization request, for good",
    "deleteSection": "a section of a document",
    "deleteTemplate": "a template",
    "deleteWebhookSubscription": "a subscription",
    "documentRevertToDraft": "clears signatures and initials, of a completed document too",
    "editDocumentRecipient": "who is left out of a group's new list is out of the group, and loses access",
    "reassignDocumentRecipient": "removes the signer who was there; of a sent document, what they had filled in, too",
    "removeMember": "a member of a workspace",
    "updateWebhookSubscriptionSharedKey": "the key that signed so far is gone",
}
"""What takes away a thing that was there or the work people put in. A new value in place of an old one is a change."""

CREDENTIALS: Final = {
    "accessToken": "an access token and a refresh token",
    "createApiKey": "an API key",
    "createMemberToken": "a member's token",
    "detailsLog": "the credential that the logged request was sent with, as it seems: forty hex digits named key",
    "detailsLogV2": "the same",
    "updateWebhookSubscriptionSharedKey": "the key that signs webhooks",
}

UNMARKED: Final = frozenset(
    {
        # Drafts and what is in them.
        "createDocument",  # no parameter sends: recipients are named here and told by sendDocument
        "createDocumentFromUpload",
        "createDocumentFromMarkdownUpload",
        "updateDocument",  # drafts only
        "createDocumentFields",
        "updateDocumentFieldsAssignment",  # drafts only
        "appendContentLibraryItemToDocument",
        "addDsvNamedItems",
        "documentSettingsUpdate",
        # Also of documents that were sent, but nobody is said to be told, and nothing goes.
        "createDocumentAttachment",
        "createDocumentAttachmentFromFileUpload",
        "createLinkedObject",  # a CRM hears of it, nobody else
        "transferDocumentOwnership",  # to a colleague
        "transferAllDocumentsOwnership",
        "documentMoveToFolder",
        "createExportDocxTask",  # leaves a task behind: no mere reading
        # The account's own shelves.
        "createContentLibraryItem",
        "createContentLibraryItemFromUpload",
        "createTemplate",
        "createTemplateWithUpload",
        "duplicateTemplate",
        "templateSettingsUpdate",
        "createTemplateEditingSession",  # as createDocumentEditingSession, but a template goes to nobody
        "createDocumentFolder",
        "renameDocumentFolder",
        "createTemplateFolder",
        "renameTemplateFolder",
        "createContact",
        "updateContact",
        "createCatalogItem",
        "updateCatalogItem",
        "createWorkspace",
        "changeMemberRole",  # may buy a seat
        "createWebhookSubscription",  # reports to a server, not to a person
        "updateWebhookSubscription",
        # GETs whose answers hold something that is named like a secret.
        "getDocumentAiMetadata",  # the key of a pair
        "searchDocumentsAi",  # the same
        "listWebhookSubscriptions",  # shared_key signs webhooks, and whoever receives them must know it
        "detailsWebhookSubscription",
        # What these leave out of a list is removed: still a change, which an app that may not delete needs.
        "quoteUpdate",
        "updateTemplate",
    }
)
"""Looked at, and found to do none of the above. Beside each: why it is here though one might expect a mark."""

RATES: Final = {
    "create": ("createDocument",),
    "create_upload": ("createDocumentFromUpload", "createDocumentFromMarkdownUpload"),
    "send": ("sendDocument",),
    "details": ("detailsDocument",),
    "template_details": ("detailsTemplate",),
    "list": ("listDocuments", "statusDocument", "deleteDocument"),
    "download": ("downloadDocument",),
    "download_protected": ("downloadProtectedDocument",),
}
"""What PandaDoc counts together, in a minute and for one user. Where it is unclear whether some are, they are."""

STATUS_TELLS: Final = {
    "statusDocument": "a 200 that says document.uploaded is what PandaDoc tells apps to poll for the draft",
}
"""Where a good answer may mean "not ready yet", besides those that the contract declares."""

ACCEPTED, CONFLICT, GOOD = "202", "409", 200

SECRET_NAME: Final = re.compile(r"(?:.*_)?(?:key|token|secret|password)")
"""How contracts name what only its owner should know: a GET that tells one is looked at, too."""


@dataclass(frozen=True, slots=True)
class Review:
    """What was judged: marks, each with its operations and why, the operations that have none, and who has a rate."""

    marks: Mapping[str, Mapping[str, str]]
    unmarked: frozenset[str]
    rates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def known(self) -> frozenset[str]:
        return self.unmarked.union(*self.marks.values())

    @property
    def rated(self) -> frozenset[str]:
        return frozenset().union(*self.rates.values())


REVIEW: Final = Review(
    {"reads": READS, "sends": SENDS, "deletes": DELETES, "credentials": CREDENTIALS}, UNMARKED, RATES
)


@dataclass(frozen=True, slots=True, order=True)
class Operation:
    """One operation of the contract. Its order is that of the file."""

    path: str
    method: str
    query: str  # the flag that is part of some paths, such as upload; else empty
    id: str
    tells_secrets: bool = False  # an answer has a property that is named like a secret
    not_ready: tuple[int, ...] = ()  # statuses that may mean "ask again"

    def __str__(self) -> str:
        return f"{self.method} {self.path}{'?' if self.query else ''}{self.query} ({self.id})"


class Unfit(click.ClickException):
    """A contract that nothing can be made of before a person has acted. Exits 1."""


def operations(contract: Any) -> list[Operation]:
    """Take the operations out of a parsed contract, sorted."""
    try:
        return sorted(
            Operation(
                path.partition("?")[0],
                method.upper(),
                path.partition("?")[2],
                described.get("operationId", ""),
                tells_secrets=any(SECRET_NAME.fullmatch(name) for name in _answered(described, contract)),
                not_ready=_not_ready(described, contract),
            )
            for path, item in contract["paths"].items()
            for method, described in item.items()
            if method in METHODS
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise Unfit("This is not an OpenAPI contract: it has no paths with operations. Name PandaDoc's.") from error


def _answered(described: Mapping[str, Any], contract: Mapping[str, Any]) -> set[str]:
    """Return the names of all properties that the good answers of an operation can have."""
    good = (answer for status, answer in described.get("responses", {}).items() if str(status).startswith("2"))
    return _properties(good, contract)


def _not_ready(described: Mapping[str, Any], contract: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the statuses by which an operation may say "not yet".

    That is a 202 that says when to ask again, and a 409 that tells the status of what is not ready.
    """
    answers = {str(status): answer for status, answer in described.get("responses", {}).items()}
    declared = []
    if described.get("operationId") in STATUS_TELLS:
        declared.append(GOOD)
    if "Retry-After" in answers.get(ACCEPTED, {}).get("headers", {}):
        declared.append(int(ACCEPTED))
    if CONFLICT in answers and {"status", "info_message"} <= _properties([answers[CONFLICT]], contract):
        declared.append(int(CONFLICT))
    return tuple(declared)


def _properties(answers: Iterable[Any], contract: Mapping[str, Any]) -> set[str]:
    """Return the names of all properties that stand in answers or in what they refer to."""
    names: set[str] = set()
    unread = list(answers)
    seen: set[str] = set()
    while unread:
        node = unread.pop()
        if isinstance(node, Mapping):
            reference = node.get("$ref")
            if isinstance(reference, str) and reference not in seen:
                seen.add(reference)
                unread.append(reduce(getitem, reference.removeprefix("#/").split("/"), contract))
            properties = node.get("properties")
            names.update(properties if isinstance(properties, Mapping) else ())
            unread += [value for key, value in node.items() if key not in {"example", "examples"}]
        elif isinstance(node, list):
            unread += node
    return names


def faults(found: list[Operation], review: Review) -> Iterator[str]:
    """Say what a person has to look at before the data can be made."""
    uses = Counter(operation.id for operation in found)
    for operation in found:
        if not operation.id or uses[operation.id] > 1:
            yield f"{operation} has no operationId of its own: name it in the contract."
        elif (operation.method != "GET" or operation.tells_secrets) and operation.id not in review.known:
            yield f"{operation} was never looked at: read what it does, then add it to a mark or to UNMARKED."
    for gone in sorted((review.known | review.rated) - uses.keys()):
        yield f"{gone} is gone from the contract: look what took its place, then take it out of the lists."


def operations_text(found: Iterable[Operation], review: Review) -> str:
    """Write one operation a line, so that a later version's difference reads well."""
    lines = (json.dumps(_row(operation, review), ensure_ascii=False) for operation in found)
    return "[\n  " + ",\n  ".join(lines) + "\n]\n"


def _row(operation: Operation, review: Review) -> dict[str, Any]:
    optional = {
        "query": operation.query,
        "marks": [mark for mark, marked in review.marks.items() if operation.id in marked],
        "rate": next((rate for rate, ids in review.rates.items() if operation.id in ids), ""),
        "not_ready": list(operation.not_ready),
    }
    row = {"method": operation.method, "path": operation.path, "id": operation.id}
    return row | {key: value for key, value in optional.items() if value}


def profiles_text(found: Iterable[Operation], review: Review) -> str:
    """Write the profiles: what people are told of each, its rules, and what becomes of a request that none fits."""
    marked = {mark: [operation for operation in found if operation.id in ids] for mark, ids in review.marks.items()}
    not_deleted_by_method = [operation for operation in marked["deletes"] if operation.method != "DELETE"]
    profiles = {
        "read-only": {
            "about": "The app can look at everything and change nothing; what PandaDoc adds later is refused, too,"
            " unless it is a GET.",
            "rules": ["allow GET,OPTIONS /**", *_rules("allow", marked["reads"])],
            "otherwise": "deny",
        },
        "no-send": {
            "about": "The app can prepare drafts, but do nothing that PandaDoc documents as reaching people or letting"
            " them in: no sending, reminding, inviting or notarizing, no signing or editing session, no new section,"
            " status or recipient.",
            "rules": _rules("deny", map(_of_any_version, marked["sends"])),
            "otherwise": "allow",
        },
        "no-delete": {
            "about": "The app can make and change things, but not take them away: no DELETE, and nothing else that"
            " PandaDoc documents as removing what is there, signatures and keys included. Lists that replace others"
            " pass, as in quotes and templates.",
            "rules": ["deny DELETE /**", *_rules("deny", map(_of_any_version, not_deleted_by_method))],
            "otherwise": "allow",
        },
    }
    return json.dumps(profiles, indent=2, ensure_ascii=False) + "\n"


def _rules(verdict: str, of: Iterable[Operation]) -> list[str]:
    """Write a rule for each operation. Those that differ only in a query flag share one: patterns see no query."""
    patterns = (f"{operation.method} {re.sub(r'{[^/]*}', '*', operation.path)}" for operation in of)
    return [f"{verdict} {pattern}" for pattern in dict.fromkeys(patterns)]


def _of_any_version(operation: Operation) -> Operation:
    """Stand for the operation under another version, too: what is refused in v1 is no less so under an alias in v2."""
    return replace(operation, path=re.sub(r"^/public/[^/]+", "/public/*", operation.path))


def made(contract: Any, review: Review = REVIEW) -> dict[str, str]:
    """Make each file's text from a parsed contract. Raises Unfit with every fault at once."""
    found = operations(contract)
    if wrong := list(faults(found, review)):
        raise Unfit("\n  ".join(["Nothing was written. In tools/operations.py and the contract:", *wrong]))
    return {"operations.json": operations_text(found, review), "profiles.json": profiles_text(found, review)}


def parsed(path: Path) -> Any:
    """Read YAML, by libyaml where PyYAML has it: the contract is long."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return yaml.load(path.read_bytes(), loader)  # noqa: S506 - either loader is a safe one
    except yaml.YAMLError as error:
        raise Unfit(f"{path} is not YAML: {error}") from error


@click.command(help="Make proxy/policy's data from PandaDoc's OpenAPI contract.")
@click.argument("contract", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if a file would change.")
@click.option("--into", type=click.Path(file_okay=False, path_type=Path), default=POLICY, help="Another folder.")
def main(contract: Path, *, check: bool, into: Path) -> None:
    files = made(parsed(contract))
    changed = [name for name, text in files.items() if not _holds(into / name, text)]
    if check and changed:
        raise Unfit(f"{' and '.join(changed)} would change: run this again without --check, and read the difference.")
    for name in changed:
        (into / name).write_text(files[name], encoding="utf-8")


def _holds(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    main()
