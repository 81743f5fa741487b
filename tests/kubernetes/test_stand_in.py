"""The stand-in itself: it must refuse what an API server refuses, or what is shown with it shows nothing.

Each test names the page of the documentation that it is after.
"""

import io
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from kubernetes_api import LEASE, NAMESPACE, SECRET, KubernetesApi, Rule
from kubernetes_objects import merged
from tls import trusting

SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"
THE_SECRET = f"{SECRETS}/{SECRET}"
THE_LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{LEASE}"
BY_NAME = {"fieldSelector": f"metadata.name={SECRET}"}


class Caller:
    """Somebody with a token, who asks in raw HTTP."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api
        connector = aiohttp.TCPConnector(ssl=trusting(api.ca))
        self.session = aiohttp.ClientSession(f"https://127.0.0.1:{api.port}", connector=connector)

    async def ask(self, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self._api.token}", "Content-Type": "application/merge-patch+json"}
        data = None if body is None else io.BytesIO(json.dumps(body).encode())
        headers |= options.pop("headers", {})
        async with self.session.request(method, path, data=data, headers=headers, **options) as answer:
            return answer.status, await answer.json()

    async def events(self, version: str, **query: str) -> AsyncIterator[dict[str, Any]]:
        asked = {"watch": "true", "resourceVersion": version, "timeoutSeconds": "1", **BY_NAME, **query}
        headers = {"Authorization": f"Bearer {self._api.token}"}
        async with self.session.get(SECRETS, params=asked, headers=headers) as answer:
            assert answer.status == 200
            async for line in answer.content:
                yield json.loads(line)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[KubernetesApi]:
    async with KubernetesApi(tmp_path) as running:
        running.apply_manifests()
        yield running


@pytest.fixture
async def caller(api: KubernetesApi) -> AsyncIterator[Caller]:
    made = Caller(api)
    yield made
    await made.session.close()


async def test_rbac_allows_the_named_objects_and_no_others(caller: Caller) -> None:
    """Using RBAC Authorization: referring to resources. A list or watch has a name by its field selector alone."""
    assert (await caller.ask("GET", THE_SECRET))[0] == 200
    assert (await caller.ask("GET", SECRETS, params=BY_NAME))[0] == 200
    refused = [
        await caller.ask("GET", f"{SECRETS}/pandadoc"),
        await caller.ask("GET", SECRETS),
        await caller.ask("GET", SECRETS, params={"fieldSelector": "metadata.name=pandadoc"}),
        await caller.ask("GET", SECRETS, params={"watch": "1", "resourceVersion": "0"}),
        await caller.ask("POST", SECRETS, {}),
        await caller.ask("PUT", THE_SECRET, {}),
        await caller.ask("GET", THE_SECRET.replace(NAMESPACE, "kube-system")),
    ]
    assert {status for status, _ in refused} == {403}
    assert {document["kind"] for _, document in refused} == {"Status"}
    assert (await caller.ask("GET", "/api/v1/namespaces/shop/pods/x"))[0] == 404


async def test_only_a_known_token_is_let_in(api: KubernetesApi, caller: Caller) -> None:
    """Authenticating: 401 for what can't be verified."""
    api.tokens.clear()
    status, document = await caller.ask("GET", THE_SECRET)
    assert (status, document["reason"]) == (401, "Unauthorized")


async def test_a_patch_of_another_version_is_a_conflict_and_one_of_no_version_is_not(caller: Caller) -> None:
    """Kubernetes API Concepts: updates to existing resources."""
    _, before = await caller.ask("GET", THE_SECRET)
    version = before["metadata"]["resourceVersion"]
    status, after = await caller.ask("PATCH", THE_SECRET, {"data": {"a": "YQ=="}})
    assert (status, after["metadata"]["resourceVersion"] == version) == (200, False)
    stale = {"metadata": {"resourceVersion": version}, "data": {"a": "Yg=="}}
    status, document = await caller.ask("PATCH", THE_SECRET, stale)
    assert (status, document["reason"]) == (409, "Conflict")


async def test_a_patch_that_changes_nothing_makes_no_version(caller: Caller) -> None:
    first = await caller.ask("PATCH", THE_SECRET, {"data": {"a": "YQ=="}})
    assert await caller.ask("PATCH", THE_SECRET, {"data": {"a": "YQ=="}}) == first


async def test_other_kinds_of_patches_are_not_understood_here(caller: Caller) -> None:
    headers = {"Content-Type": "application/json"}
    assert (await caller.ask("PATCH", THE_SECRET, {}, headers=headers))[0] == 415


async def test_a_lease_is_replaced_over_a_version_alone_a_secret_over_any(api: KubernetesApi, caller: Caller) -> None:
    """The update strategies: a Secret allows an unconditional update, a Lease does not."""
    api.rules = [Rule(rule.group, rule.plural, rule.names, rule.verbs | {"update"}) for rule in api.rules]
    assert (await caller.ask("PUT", THE_SECRET, {"metadata": {"name": SECRET}}))[0] == 200
    assert (await caller.ask("PUT", THE_LEASE, {"metadata": {"name": LEASE}}))[0] == 422
    _, lease = await caller.ask("GET", THE_LEASE)
    lease["spec"] = {"holderIdentity": "me", "leaseDurationSeconds": 5}
    assert (await caller.ask("PUT", THE_LEASE, lease))[0] == 200
    assert (await caller.ask("PUT", THE_LEASE, lease))[0] == 409


@pytest.mark.parametrize(
    ("path", "patch", "status"),
    [
        (THE_SECRET, {"data": {"a": "not base64"}}, 400),
        (THE_SECRET, {"data": {"a": b64encode(b"x" * (2**20 + 1)).decode()}}, 422),
        (THE_SECRET, {"metadata": {"name": "other"}}, 400),
        (THE_LEASE, {"spec": {"leaseDurationSeconds": 0}}, 422),
        (THE_LEASE, {"spec": {"leaseDurationSeconds": 1.5}}, 422),
        (THE_LEASE, {"spec": {"leaseTransitions": -1}}, 422),
    ],
)
async def test_what_an_api_server_finds_invalid_is_refused(
    caller: Caller, path: str, patch: dict[str, Any], status: int
) -> None:
    assert (await caller.ask("PATCH", path, patch))[0] == status


async def test_a_list_has_the_version_of_all_and_items_without_a_kind(api: KubernetesApi, caller: Caller) -> None:
    api.edit("leases", spec={"leaseTransitions": 1})
    _, listed = await caller.ask("GET", SECRETS, params=BY_NAME)
    assert listed["kind"] == "SecretList"
    assert listed["metadata"]["resourceVersion"] == str(api.objects.revision)
    (item,) = listed["items"]
    assert "kind" not in item
    assert int(item["metadata"]["resourceVersion"]) < api.objects.revision


async def test_a_watch_tells_what_came_after_its_version_and_then_bookmarks(api: KubernetesApi, caller: Caller) -> None:
    """Kubernetes API Concepts: efficient detection of changes; watch bookmarks."""
    version = str(api.objects.revision)
    api.put(b"one")
    api.edit("leases", spec={"leaseTransitions": 1})
    api.put(b"two")
    api.delete("secrets")
    told = [event async for event in caller.events(version)]
    changes = [event for event in told if event["type"] != "BOOKMARK"]
    assert [event["type"] for event in changes] == ["MODIFIED", "MODIFIED", "DELETED"]
    assert [event["object"]["data"]["grant.json"] for event in changes] == ["b25l", "dHdv", "dHdv"]
    bookmark = told[-1]["object"]
    assert (bookmark["kind"], bookmark["metadata"]) == ("Secret", {"resourceVersion": str(api.objects.revision)})


async def test_a_watch_from_a_forgotten_version_is_told_410(api: KubernetesApi, caller: Caller) -> None:
    """Kubernetes API Concepts: the 410 Gone response; as an event, since the answer has begun."""
    version = str(api.objects.revision)
    api.put(b"one")
    api.objects.compact()
    (event,) = [each async for each in caller.events(version)]
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)


def test_a_merge_patch_is_applied_as_its_rfc_shows() -> None:
    """RFC 7396, appendix A, those with objects."""
    assert merged({"a": "b", "b": "c"}, {"a": None}) == {"b": "c"}
    assert merged({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}) == {"a": {"b": "d"}}
    assert merged({"a": [{"b": "c"}]}, {"a": [1]}) == {"a": [1]}
    assert merged({}, {"a": {"bb": {"ccc": None}}}) == {"a": {"bb": {}}}
