"""What each answer of a Kubernetes API means, and what no answer means."""

import asyncio
import logging
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from kubernetes_api import NAMESPACE, SECRET, KubernetesApi
from rig import TurnedClock

from proxy.kubernetes import api as calls
from proxy.kubernetes.api import LONGEST_ASKED, SHORTEST_REST, Api
from proxy.kubernetes.discovery import Discovery
from proxy.kubernetes.faults import Distrusted, KubernetesFault, Unreachable
from proxy.kubernetes.objects import Named
from proxy.secret_reader import SecretReader

THE_SECRET = Named("", "secrets", SECRET, None)


@pytest.fixture
async def server(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> AsyncIterator[KubernetesApi]:
    caplog.set_level(logging.DEBUG)
    async with KubernetesApi(tmp_path) as running:
        running.apply_manifests()
        yield running


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
async def api(server: KubernetesApi, clock: TurnedClock) -> AsyncIterator[Api]:
    made = Api(Discovery(server.environ, None, SecretReader(), clock.monotonic, server.mount.path), clock)
    yield made
    await made.close()


async def fault_of(api: Api, kind: type[KubernetesFault] = KubernetesFault) -> str:
    """Return what a read says that fails, and no secret."""
    with pytest.raises(KubernetesFault) as raised:
        await api.get(THE_SECRET)
    assert type(raised.value) is kind
    text = str(raised.value)
    assert "service-account-token" not in text + repr(raised.value.__cause__)
    assert text.endswith(".")
    return text


def version(server: KubernetesApi) -> str:
    return str(server.secret["metadata"]["resourceVersion"])


# Who we are


async def test_a_rotated_token_is_read_again_when_the_old_one_is_refused(api: Api, server: KubernetesApi) -> None:
    await api.get(THE_SECRET)
    server.rotate()
    await api.get(THE_SECRET)
    assert server.calls("get secrets") == [200, 401, 200]


async def test_a_rotated_token_is_read_again_after_a_minute(
    api: Api, server: KubernetesApi, clock: TurnedClock
) -> None:
    """While the old one is still good: it is, for a while."""
    await api.get(THE_SECRET)
    old = server.token
    server.rotate()
    server.tokens.add(old)
    clock.pass_(61)
    await api.get(THE_SECRET)
    server.tokens.discard(old)
    await api.get(THE_SECRET)
    assert server.calls("get secrets") == [200, 200, 200]


async def test_a_token_that_stays_refused_is_waited_for(api: Api, server: KubernetesApi) -> None:
    """Whoever rotates it is late. That heals by itself."""
    server.tokens.clear()
    assert "Our token is not accepted (401)" in await fault_of(api, Unreachable)
    assert server.calls("get secrets") == [401, 401]
    server.rotate()
    await api.get(THE_SECRET)


async def test_a_token_that_is_not_there_yet_is_waited_for(api: Api, server: KubernetesApi) -> None:
    (server.mount.path / "token").unlink()
    assert "token for the Kubernetes API can't be read: the file" in await fault_of(api, Unreachable)


# What it answers


@pytest.mark.parametrize("verb", ["get", "list", "watch", "patch"])
async def test_a_verb_that_rbac_lacks_is_named(api: Api, server: KubernetesApi, verb: str) -> None:
    server.rules = [replace(rule, verbs=rule.verbs - {verb}) for rule in server.rules]
    asking: dict[str, Callable[[], Awaitable[object]]] = {
        "get": lambda: api.get(THE_SECRET),
        "list": lambda: api.list(THE_SECRET),
        "patch": lambda: api.patch(THE_SECRET, version(server), {}),
        "watch": lambda: api.watch(THE_SECRET, version(server), 60).__aenter__(),
    }
    with pytest.raises(KubernetesFault) as raised:
        await asking[verb]()
    assert str(raised.value) == (
        f"Kubernetes forbids us to {verb} secrets/{SECRET} in namespace {NAMESPACE}: a Role must allow `{verb}` on"
        f" secrets with the resourceName {SECRET}, bound to this pod's service account."
        + (" If one does, an admission webhook or policy refuses the change." if verb == "patch" else "")
    )


async def test_a_conflict_is_no_fault_of_a_patch(api: Api, server: KubernetesApi) -> None:
    before = version(server)
    server.put(b"theirs")
    assert await api.patch(THE_SECRET, before, {"data": {}}) is None


@pytest.mark.parametrize("why", ["immutable", "full", "admission"])
async def test_a_change_that_is_refused_is_told_with_all_that_may_be_why(
    api: Api, server: KubernetesApi, why: str
) -> None:
    if why == "immutable":
        server.edit("secrets", immutable=True)
    elif why == "full":
        server.edit("secrets", data={"b": b64encode(b"x" * 2**20).decode()})
    else:  # a webhook that gives no status of its own
        server.faults.answer = lambda: web.json_response({"message": "denied the request"}, status=400)
    before = version(server)
    with pytest.raises(KubernetesFault) as raised:
        await api.patch(THE_SECRET, before, {"data": {"a": "YQ=="}})
    assert re.fullmatch(
        rf"To patch secrets/{SECRET} in namespace {NAMESPACE}, 4\d\d came from \S+ .*: it may be immutable, or full"
        r" \(1MiB with all its keys\), or an admission webhook or policy refuses the change\.",
        str(raised.value),
    )


async def test_a_short_rest_that_is_asked_for_is_given_within_the_call(
    api: Api, server: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "LIMIT", 5.0)
    server.faults.throttled = 1
    began = asyncio.get_running_loop().time()
    await api.get(THE_SECRET)
    assert asyncio.get_running_loop().time() - began >= 1.0
    assert server.calls("get secrets") == [429, 200]


async def test_no_rest_at_all_is_still_a_pause_and_one_more_try(api: Api, server: KubernetesApi) -> None:
    """Else as many requests as fit into two seconds would come upon whoever has too many."""
    server.faults.throttled, server.faults.retry_after = 1, "0"
    began = asyncio.get_running_loop().time()
    await api.get(THE_SECRET)
    assert asyncio.get_running_loop().time() - began >= SHORTEST_REST
    server.faults.throttled = 10**6
    assert "wants 1 s of rest" in await fault_of(api, Unreachable)
    assert "Too much was asked" in await fault_of(api, Unreachable)
    assert server.calls("get secrets") == [429, 200, 429, 429]


@pytest.mark.parametrize(("asked", "kept"), [("4", 4.0), ("86400", LONGEST_ASKED)])
async def test_a_long_rest_that_is_asked_for_is_kept_by_all_calls(
    api: Api, server: KubernetesApi, clock: TurnedClock, asked: str, kept: float
) -> None:
    server.faults.throttled, server.faults.retry_after = 1, asked
    assert f"wants {kept:.0f} s of rest" in await fault_of(api, Unreachable)
    assert "Too much was asked" in await fault_of(api, Unreachable)
    with pytest.raises(Unreachable, match="s of rest"):
        async with api.watch(THE_SECRET, version(server), 60):
            pass
    assert (server.calls("get secrets"), server.calls("watch secrets")) == ([429], [])
    clock.pass_(kept)
    await api.get(THE_SECRET)


@pytest.mark.parametrize("retry_after", [None, "Wed, 21 Oct 2026 07:28:00 GMT", "-1", "9" * 400])
async def test_a_rest_of_unknown_length_is_a_second(
    api: Api, server: KubernetesApi, clock: TurnedClock, monkeypatch: pytest.MonkeyPatch, retry_after: str | None
) -> None:
    monkeypatch.setattr(calls, "LIMIT", 0.5)
    server.faults.throttled, server.faults.retry_after = 1, retry_after
    assert "wants 1 s of rest" in await fault_of(api, Unreachable)
    clock.pass_(1)
    await api.get(THE_SECRET)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 410])
async def test_a_server_in_trouble_is_waited_for_and_not_quoted(api: Api, server: KubernetesApi, status: int) -> None:
    server.faults.status = status
    assert f"To get secrets/{SECRET}, {status} came from the Kubernetes API" in await fault_of(api, Unreachable)


async def test_a_redirect_is_not_followed(api: Api, server: KubernetesApi) -> None:
    server.faults.answer = lambda: web.Response(status=307, headers={"Location": "https://127.0.0.1:1/elsewhere"})
    assert re.search(r"307 came from .*: that address may be wrong\.$", await fault_of(api))


async def test_an_answer_beyond_all_bounds_is_not_read(api: Api, server: KubernetesApi) -> None:
    server.faults.answer = lambda: web.Response(body=b"x" * (3 * 2**20))
    assert "larger than 2MiB" in await fault_of(api)


# When it does not answer, or is not to be asked


async def test_what_was_closed_connects_no_more(api: Api, server: KubernetesApi) -> None:
    await api.get(THE_SECRET)
    await api.close()
    assert "was closed" in await fault_of(api, Unreachable)
    with pytest.raises(Unreachable, match="was closed"):
        async with api.watch(THE_SECRET, version(server), 60):
            pass
    assert server.calls("get secrets") == [200]


async def test_what_is_closed_while_it_looks_for_the_api_does_not_connect(api: Api, server: KubernetesApi) -> None:
    call = asyncio.ensure_future(fault_of(api, Unreachable))
    await asyncio.sleep(0)  # files are read by a thread
    await api.close()
    assert "was closed" in await call
    assert server.calls("get secrets") == []


async def test_a_server_that_stands_still_is_given_two_seconds(
    api: Api, server: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "LIMIT", 0.2)
    server.faults.stalled = True
    assert "No answer came in time from the Kubernetes API at https://127.0.0.1:" in await fault_of(api, Unreachable)
    server.faults.stalled = False
    await api.get(THE_SECRET)


async def test_a_watch_that_is_not_opened_is_given_up(
    api: Api, server: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "WATCH_HEAD", 0.2)
    server.faults.stalled = True
    with pytest.raises(Unreachable, match="No answer came in time"):
        async with api.watch(THE_SECRET, version(server), 60):
            pass


async def test_a_server_that_is_gone_is_found_again_when_it_is_back(api: Api, server: KubernetesApi) -> None:
    await api.get(THE_SECRET)
    await server.stop()
    assert "No answer came from" in await fault_of(api, Unreachable)
    await server.start()
    await api.get(THE_SECRET)


async def test_a_certificate_that_is_not_trusted_is_for_a_person(api: Api, server: KubernetesApi) -> None:
    """An authority that was renewed is found by itself, in its file."""
    await api.get(THE_SECRET)
    await server.stop()
    theirs = server.mount.path / "ca.crt"
    old = theirs.read_bytes()
    server.renew_authority()
    server.mount.put(**{"ca.crt": old})
    await server.start()
    assert "is not trusted (" in await fault_of(api, Distrusted)
    server.mount.put(**{"ca.crt": server.ca.cert_pem.bytes()})
    await api.get(THE_SECRET)


async def test_an_authority_that_was_renewed_costs_no_call(api: Api, server: KubernetesApi) -> None:
    """Its file is there already: no request need wait for the next try."""
    await api.get(THE_SECRET)
    await server.stop()
    server.renew_authority()
    await server.start()
    await api.get(THE_SECRET)
    assert server.calls("get secrets") == [200, 200]


async def test_a_pod_without_an_account_is_told_what_to_mount(tmp_path: Path, clock: TurnedClock) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    api = Api(Discovery(environ, None, SecretReader(), clock.monotonic, tmp_path), clock)
    assert "mount a service account's token into this container, or name a kubeconfig" in await fault_of(api)
    assert repr(api) == "<Api the Kubernetes API>"


async def test_the_environments_proxy_is_not_for_the_api(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    await api.get(THE_SECRET)


async def test_it_says_who_asks(api: Api, server: KubernetesApi) -> None:
    await api.patch(THE_SECRET, version(server), {"data": {"a": "YQ=="}})
    (agent,) = server.agents
    assert agent.startswith("pandadoc-proxy/")


async def test_no_secret_is_logged(api: Api, server: KubernetesApi, caplog: pytest.LogCaptureFixture) -> None:
    server.put(b"the-refresh-token")
    await api.get(THE_SECRET)
    await api.patch(THE_SECRET, version(server), {"data": {"a": "YQ=="}})
    server.faults.status = 500
    await fault_of(api, Unreachable)
    assert "service-account-token" not in caplog.text + repr(api)
    assert "the-refresh-token" not in caplog.text
