"""A kubeconfig's current context, as `kubectl` reads it, and what of it is refused."""

import asyncio
import json
import os
import pwd
import signal
import socket
import ssl
import sys
import traceback
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_api import NAMESPACE, SECRET, KubernetesApi
from rig import TurnedClock, until
from tls import LONG_AGO

from proxy.kubernetes.api import LIMIT, Api
from proxy.kubernetes.discovery import Discovery
from proxy.kubernetes.faults import KubernetesFault, Unreachable
from proxy.kubernetes.objects import Named
from proxy.secret_reader import SecretReader

THE_SECRET = Named("", "secrets", SECRET, None)

PASSWORD = "hunter2"

Reads = Callable[..., Api]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[KubernetesApi]:
    async with KubernetesApi(tmp_path) as running:
        running.apply_manifests()
        yield running


@pytest.fixture
async def reads(tmp_path: Path) -> AsyncIterator[Reads]:
    """Write kubeconfigs, and make what reads them: the one that is named, or those in KUBECONFIG."""
    made: list[Api] = []

    def read(*documents: Any, named: bool = True, **environ: str) -> Api:
        paths = [tmp_path / "kube" / f"config-{n}" for n in range(len(documents))]
        for path, document in zip(paths, documents, strict=True):
            path.parent.mkdir(exist_ok=True)
            path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
        environ = {"KUBECONFIG": ":".join(map(str, paths)), **environ}
        clock = TurnedClock()
        find = Discovery(environ, paths[0] if named else None, SecretReader(), clock.monotonic)
        made.append(Api(find, clock))
        return made[-1]

    yield read
    for each in made:
        await each.close()


def kubeconfig(api: KubernetesApi, user: Mapping[str, Any] | None = None, /, **cluster: Any) -> dict[str, Any]:
    """Return one that works."""
    authority = b64encode(api.ca.cert_pem.bytes()).decode()
    there = {"server": f"https://127.0.0.1:{api.port}", "certificate-authority-data": authority, **cluster}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {},
        "clusters": [{"name": "shop-cluster", "cluster": there}],
        "users": [{"name": "me", "user": {"token": api.token} if user is None else dict(user)}],
        "contexts": [
            {"name": "other", "context": {"cluster": "gone", "user": "gone"}},
            {"name": "shop", "context": {"cluster": "shop-cluster", "user": "me", "namespace": NAMESPACE}},
        ],
        "current-context": "shop",
    }


async def fault_of(api: Api) -> str:
    with pytest.raises(KubernetesFault) as raised:
        await api.get(THE_SECRET)
    assert str(raised.value).endswith(".")
    told = "".join(traceback.format_exception(raised.value))  # with all that it was made of
    assert not [each for each in ("service-account-token", PASSWORD) if each in told]
    return str(raised.value)


async def test_the_current_context_says_where_and_who(server: KubernetesApi, reads: Reads) -> None:
    api = reads(kubeconfig(server))
    await api.get(THE_SECRET)
    assert api.namespace == NAMESPACE


async def test_a_context_without_a_namespace_means_default(server: KubernetesApi, reads: Reads) -> None:
    config = kubeconfig(server)
    del config["contexts"][1]["context"]["namespace"]
    assert "in namespace default" in await fault_of(reads(config))


async def test_files_are_found_from_the_kubeconfigs_folder(server: KubernetesApi, reads: Reads, tmp_path: Path) -> None:
    config = kubeconfig(server, {"tokenFile": "../serviceaccount/token"})
    cluster = config["clusters"][0]["cluster"]
    del cluster["certificate-authority-data"]
    cluster["certificate-authority"] = "my-ca.crt"
    api = reads(config)
    (tmp_path / "kube" / "my-ca.crt").write_bytes(server.ca.cert_pem.bytes())
    await api.get(THE_SECRET)
    server.rotate()
    await api.get(THE_SECRET)
    assert server.calls("get secrets") == [200, 401, 200]


async def test_of_several_files_the_first_to_name_a_thing_counts(server: KubernetesApi, reads: Reads) -> None:
    config = kubeconfig(server)
    mine = {"users": config["users"], "current-context": "shop"}
    config["users"] = [{"name": "me", "user": {"token": "worthless"}}]
    config["current-context"] = "other"
    await reads(mine, config, named=False).get(THE_SECRET)


async def test_a_kubeconfig_that_is_named_goes_before_the_pods_account(server: KubernetesApi, reads: Reads) -> None:
    elsewhere = {"KUBERNETES_SERVICE_HOST": "192.0.2.1", "KUBERNETES_SERVICE_PORT": "1"}
    await reads(kubeconfig(server), **elsewhere).get(THE_SECRET)


async def test_one_in_the_home_folder_is_found(server: KubernetesApi, tmp_path: Path) -> None:
    path = tmp_path / ".kube" / "config"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(kubeconfig(server)))
    clock = TurnedClock()
    api = Api(Discovery({"HOME": str(tmp_path)}, None, SecretReader(), clock.monotonic), clock)
    await api.get(THE_SECRET)
    await api.close()


async def test_without_a_home_folder_it_is_told_what_to_set(reads: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a container's user without a line in /etc/passwd, outside a cluster."""

    def unknown(_user: int) -> None:
        raise KeyError

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    fault = await fault_of(reads(named=False))
    assert fault.startswith("There is no home folder to look for a kubeconfig in: mount a service account's token")


def certified(server: KubernetesApi, not_after: datetime | None = None) -> dict[str, str]:
    """Return a user who shows a certificate."""
    pair = server.clients.issue_cert("me@example.com", not_after=not_after)
    return {
        "client-certificate-data": b64encode(pair.cert_chain_pems[0].bytes()).decode(),
        "client-key-data": b64encode(pair.private_key_pem.bytes()).decode(),
    }


async def test_a_client_certificate_is_shown(server: KubernetesApi, reads: Reads) -> None:
    await reads(kubeconfig(server, certified(server))).get(THE_SECRET)
    assert "has no token, and no certificate that is known there" in await fault_of(reads(kubeconfig(server, {})))


async def test_a_static_token_that_is_refused_is_for_a_person(server: KubernetesApi, reads: Reads) -> None:
    api = reads(kubeconfig(server, {"token": "worthless"}))
    assert (await fault_of(api)).endswith("renew it.")
    assert server.calls("get secrets") == [401, 401]


async def test_a_static_token_that_a_person_renews_is_taken_at_once(
    server: KubernetesApi, reads: Reads, tmp_path: Path
) -> None:
    api = reads(kubeconfig(server))
    await api.get(THE_SECRET)
    server.rotate()
    assert (await fault_of(api)).endswith("renew it.")
    (tmp_path / "kube" / "config-0").write_text(yaml.safe_dump(kubeconfig(server)))
    await api.get(THE_SECRET)
    assert server.calls("get secrets") == [200, 401, 401, 401, 200]


@pytest.mark.parametrize("tls", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_client_certificate_that_a_person_renews_is_taken_at_once(
    server: KubernetesApi, reads: Reads, tmp_path: Path, tls: ssl.TLSVersion
) -> None:
    """Of TLS 1.3 its refusal comes behind the handshake."""
    await server.stop()
    server.newest_tls = tls
    await server.start()
    api = reads(kubeconfig(server, certified(server, not_after=LONG_AGO)))
    for _ in range(2):
        assert "No answer came from" in await fault_of(api)
    (tmp_path / "kube" / "config-0").write_text(yaml.safe_dump(kubeconfig(server, certified(server))))
    await api.get(THE_SECRET)


@pytest.mark.parametrize(
    ("cluster", "said"),
    [
        ({"insecure-skip-tls-verify": True}, "give its certificate-authority"),
        ({"server": "http://192.0.2.1"}, "has no server at https://"),
        ({"server": "https://127.0.0.1:port"}, "has no server at https://"),
        ({"server": "https://"}, "has no server at https://"),
        ({"server": f"https://me:{PASSWORD}@127.0.0.1"}, "has no server at https://"),
        ({"server": f"https://me:{PASSWORD}/x@127.0.0.1:1"}, "has no server at https://"),
        ({"server": 7}, "has a server that is no text"),
        ({"tls-server-name": "a..b"}, "has a tls-server-name that is no name"),
        ({"tls-server-name": ".a"}, "has a tls-server-name that is no name"),
        ({"certificate-authority-data": "%"}, "has a certificate-authority-data that is not base64"),
        ({"certificate-authority-data": "YQ=="}, "is no PEM file"),
        ({"proxy-url": "socks5://127.0.0.1:1080"}, "proxy-url that is no http:// or https:// URL"),
        ({"proxy-url": "http://"}, "proxy-url that is no http:// or https:// URL"),
        ({"proxy-url": "http://127.0.0.1:312800"}, "proxy-url that is no http:// or https:// URL"),
        ({"proxy-url": "http://[bad"}, "proxy-url that is no http:// or https:// URL"),
        ({"proxy-url": f"http://me:{PASSWORD}/x@127.0.0.1:3128"}, "proxy-url that is no http:// or https:// URL"),
        ({"certificate-authority-data": "", "certificate-authority": "/nowhere"}, "/nowhere can't be read"),
        ({"certificate-authority-data": "", "certificate-authority": "a\0b"}, "certificate-authority that is no text"),
    ],
)
async def test_what_of_a_cluster_can_not_be_used_is_said(
    server: KubernetesApi, reads: Reads, cluster: dict[str, Any], said: str
) -> None:
    assert said in await fault_of(reads(kubeconfig(server, **cluster)))


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ({"username": "me", "password": "pass"}, "has username, which is not supported"),
        ({"auth-provider": {"name": "gcp"}}, "has auth-provider, which is not supported"),
        ({"token": "x", "as": "admin"}, "has as, which is not supported"),
        ({"token": "x\r\nHost: y"}, "has a token that is none"),
        ({"client-certificate-data": "YQ==", "client-key-data": "YQ=="}, "client-key that are no pair"),
        ({"client-certificate-data": "YQ=="}, "has a client-certificate without a client-key"),
        ({"token": "x", "client-key-data": "YQ=="}, "has a client-key without a client-certificate"),
        ({"exec": {"command": ["a", "list"]}}, "has an exec that can't be read"),
        ({"exec": {"command": "a\0b"}}, "has an exec that can't be run"),
        ({"exec": {"command": "true", "args": ["a\0b"]}}, "has an exec that can't be run"),
        ({"exec": {"command": "true", "env": [{"name": "A=B", "value": PASSWORD}]}}, "has an exec that can't be run"),
        ({"exec": {"command": "true", "env": [{"name": "A", "value": "a\0b"}]}}, "has an exec that can't be run"),
    ],
)
async def test_what_of_a_user_can_not_be_used_is_said(
    server: KubernetesApi, reads: Reads, user: dict[str, Any], said: str
) -> None:
    assert said in await fault_of(reads(kubeconfig(server, user)))


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("", "has no current-context"),
        ("[", "is not a kubeconfig"),
        ("{clusters: 5}", "is not a kubeconfig"),
        ("{current-context: a}", "There is no context a in"),
        ("{current-context: a, contexts: [{name: a, context: {user: b}}]}", "There is no cluster (without a name) in"),
        ("{clusters: 2026-13-45}", "is not a kubeconfig"),
        ("{clusters: 0001-01-01T00:00:00+99:99}", "is not a kubeconfig"),
        ("x" * (2**20 + 1), "is larger than 1MiB"),
    ],
)
async def test_what_is_no_kubeconfig_is_said(reads: Reads, document: str, said: str) -> None:
    assert said in await fault_of(reads(document))


async def test_a_kubeconfig_that_is_corrected_is_read_again(
    server: KubernetesApi, reads: Reads, tmp_path: Path
) -> None:
    api = reads("")
    await fault_of(api)
    (tmp_path / "kube" / "config-0").write_text(yaml.safe_dump(kubeconfig(server)))
    await api.get(THE_SECRET)


@pytest.mark.parametrize("user", ["token", "tokenFile", "exec"])
async def test_a_server_that_is_corrected_is_asked_at_once(
    server: KubernetesApi, reads: Reads, tmp_path: Path, user: str
) -> None:
    """However we show who we are. The one that was wrong is named."""
    users = {"tokenFile": {"tokenFile": str(server.mount.path / "token")}, "exec": plugin(server, tmp_path)}
    api = reads(kubeconfig(server, users.get(user), server="https://127.0.0.1:1"))
    assert "No answer came from the Kubernetes API at https://127.0.0.1:1 (" in await fault_of(api)
    (tmp_path / "kube" / "config-0").write_text(yaml.safe_dump(kubeconfig(server, users.get(user))))
    await api.get(THE_SECRET)


async def test_a_server_that_is_silent_and_is_corrected_is_asked_at_once(
    server: KubernetesApi, reads: Reads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.kubernetes.api.LIMIT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        api = reads(kubeconfig(server, server=f"https://127.0.0.1:{port}"))
        assert f"No answer came in time from the Kubernetes API at https://127.0.0.1:{port}." in await fault_of(api)
    monkeypatch.undo()
    (tmp_path / "kube" / "config-0").write_text(yaml.safe_dump(kubeconfig(server)))
    await api.get(THE_SECRET)


async def test_a_watch_that_breaks_cuts_no_call_off(server: KubernetesApi, reads: Reads) -> None:
    """As a connection that is dropped would."""
    api = reads(kubeconfig(server, {"tokenFile": str(server.mount.path / "token")}))
    version = server.secret["metadata"]["resourceVersion"]
    calls = []

    async def watch() -> None:
        async with api.watch(THE_SECRET, version, 60) as events:
            server.faults.stalled = True
            server.agents.clear()
            calls.append(asyncio.ensure_future(api.get(THE_SECRET)))
            await until(lambda: bool(server.agents))
            server.drop_watches()
            assert [event async for event in events] == []

    with pytest.raises(Unreachable):
        await watch()
    server.faults.stalled = False
    await asyncio.gather(*calls)


async def test_a_call_that_takes_too_long_cuts_no_other_off(
    server: KubernetesApi, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the kubeconfig read again, for calls to come."""
    api = reads(kubeconfig(server))
    server.faults.stalled = True
    monkeypatch.setattr("proxy.kubernetes.api.LIMIT", 0.3)
    first = asyncio.ensure_future(api.get(THE_SECRET))
    await until(lambda: bool(server.agents))
    server.agents.clear()
    monkeypatch.setattr("proxy.kubernetes.api.LIMIT", 10.0)
    second = asyncio.ensure_future(api.get(THE_SECRET))
    await until(lambda: bool(server.agents))
    with pytest.raises(Unreachable):
        await first
    server.faults.stalled = False
    await second


async def test_a_call_that_rests_is_not_cut_off_by_another(server: KubernetesApi, reads: Reads) -> None:
    """Nor would one be that waits for its token."""
    api = reads(kubeconfig(server))
    version = server.secret["metadata"]["resourceVersion"]
    server.faults.throttled = 1
    resting = asyncio.ensure_future(api.get(THE_SECRET))
    await until(lambda: server.calls("get secrets") == [429])

    async def watch() -> None:
        async with api.watch(THE_SECRET, version, 60) as events:
            server.drop_watches()
            assert [event async for event in events] == []

    with pytest.raises(Unreachable):
        await watch()
    await resting
    assert server.calls("get secrets") == [429, 200]


# A program that gives the token


PROGRAM = """
import json, os, sys
info = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
assert info["kind"] == "ExecCredential" and os.environ["REGION"] == "eu" and sys.argv[1:] == ["get-token"]
with open(os.environ["RUNS"], "a") as runs:
    runs.write("run\\n")
status = {"token": open(os.environ["TOKEN"]).read(), "expirationTimestamp": os.environ["UNTIL"]}
print(json.dumps({"apiVersion": info["apiVersion"], "kind": "ExecCredential", "status": status}))
"""


DATED = """
import json
status = {{"token": "t", "expirationTimestamp": "{}"}}
print(json.dumps({{"kind": "ExecCredential", "status": status}}))
"""


def plugin(server: KubernetesApi, tmp_path: Path, code: str = PROGRAM, until: str = "2100-01-01T00:00:00Z") -> Any:
    program = tmp_path / "get-token.py"
    program.write_text(code)
    environ = {
        "REGION": "eu",
        "RUNS": str(tmp_path / "runs"),
        "TOKEN": str(server.mount.path / "token"),
        "UNTIL": until,
    }
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": sys.executable,
            "args": [str(program), "get-token"],
            "env": [{"name": name, "value": value} for name, value in environ.items()],
            "interactiveMode": "Never",
        }
    }


async def test_a_program_gives_the_token(server: KubernetesApi, reads: Reads, tmp_path: Path) -> None:
    """Once for as long as it is good; again when it is refused."""
    api = reads(kubeconfig(server, plugin(server, tmp_path)))
    await api.get(THE_SECRET)
    await api.get(THE_SECRET)
    assert (tmp_path / "runs").read_text() == "run\n"
    server.rotate()
    await api.get(THE_SECRET)
    assert (tmp_path / "runs").read_text() == "run\nrun\n"


TELLING = """
import json, os
with open(os.environ["RUNS"] + ".told", "w") as told:
    told.write(os.environ["KUBERNETES_EXEC_INFO"])
"""


@pytest.mark.parametrize("asks", [True, False])
async def test_a_program_that_asks_for_it_is_told_of_the_cluster(
    server: KubernetesApi, reads: Reads, tmp_path: Path, *, asks: bool
) -> None:
    """Some ask the cluster's own service, and find it so."""
    user = plugin(server, tmp_path, TELLING + PROGRAM)
    user["exec"]["provideClusterInfo"] = asks
    known = kubeconfig(server, user)
    cluster = known["clusters"][0]["cluster"]
    cluster["extensions"] = [
        {"name": "another", "extension": 1},
        {"name": "client.authentication.k8s.io/exec", "extension": {"audience": 7}},
    ]
    await reads(known).get(THE_SECRET)
    told = json.loads((tmp_path / "runs.told").read_text())["spec"].get("cluster")
    if not asks:
        assert told is None
        return
    assert (told["server"], told["config"]) == (cluster["server"], {"audience": 7})
    assert b64decode(told["certificate-authority-data"]).startswith(b"-----BEGIN CERTIFICATE-----")
    assert "proxy-url" not in told


@pytest.mark.parametrize(
    "extensions", [7, [7], [{"name": "client.authentication.k8s.io/exec", "extension": {None: 1}}]]
)
async def test_a_cluster_of_which_a_program_cant_be_told_is_told(
    server: KubernetesApi, reads: Reads, tmp_path: Path, extensions: Any
) -> None:
    user = plugin(server, tmp_path)
    user["exec"]["provideClusterInfo"] = True
    known = kubeconfig(server, user)
    known["clusters"][0]["cluster"]["extensions"] = extensions
    assert "an exec that can't be read" in await fault_of(reads(known))


async def test_a_program_has_its_own_time_also_where_its_token_is_refused(
    server: KubernetesApi, reads: Reads, tmp_path: Path
) -> None:
    """It may ask a person, or a cloud; a call has two seconds."""
    slow_later = f"import os, time; time.sleep({LIMIT + 0.2} * os.path.exists(os.environ['RUNS']))"
    api = reads(kubeconfig(server, plugin(server, tmp_path, slow_later + PROGRAM)))
    await api.get(THE_SECRET)
    server.rotate()
    await api.get(THE_SECRET)
    assert server.calls("get secrets") == [200, 401, 200]


async def test_a_programs_token_that_ends_soon_is_not_shown_twice(
    server: KubernetesApi, reads: Reads, tmp_path: Path
) -> None:
    api = reads(kubeconfig(server, plugin(server, tmp_path, until="2020-01-01T00:00:00Z")))
    await api.get(THE_SECRET)
    await api.get(THE_SECRET)
    assert len((tmp_path / "runs").read_text().splitlines()) >= 2


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise SystemExit(3)", "ended with 3: log in with it"),
        ("print('{}')", "gives no token"),
        ("print('not JSON')", "gives no token"),
        (DATED.format("0001-01-01T00:00:00"), "gives no token"),
        (DATED.format("soon"), "gives no token"),
        ("import json; print(json.dumps({'kind': 'ExecCredential', 'status': {}}))", "gives no token"),
    ],
)
async def test_a_program_that_gives_none_is_named(
    server: KubernetesApi, reads: Reads, tmp_path: Path, code: str, said: str
) -> None:
    assert said in await fault_of(reads(kubeconfig(server, plugin(server, tmp_path, code))))


async def test_a_program_that_is_not_there_is_named(server: KubernetesApi, reads: Reads) -> None:
    user = {"exec": {"command": "no-such-program"}}
    assert "program no-such-program can't be run" in await fault_of(reads(kubeconfig(server, user)))


def runs(pid: int) -> bool:
    with suppress(OSError):
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())  # empty where it has ended and nobody has asked
    return False


async def test_a_program_that_never_ends_is_ended(
    server: KubernetesApi, reads: Reads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what it has started itself."""
    monkeypatch.setattr("proxy.kubernetes.exec_plugin.LIMIT", 3.0)
    code = """
import os, pathlib, subprocess
child = subprocess.Popen(["sleep", "600"])
pathlib.Path(os.environ["RUNS"]).write_text(str(child.pid))
child.wait()
"""
    api = reads(kubeconfig(server, plugin(server, tmp_path, code)))
    with pytest.raises(Unreachable, match=r"took longer than 3 s"):
        await asyncio.wait_for(api.get(THE_SECRET), 15)
    child = int((tmp_path / "runs").read_text())
    await until(lambda: not runs(child))


async def test_a_programs_child_that_keeps_its_output_open_is_not_waited_for(
    server: KubernetesApi, reads: Reads, tmp_path: Path
) -> None:
    child = """
import subprocess
with open(os.environ["RUNS"] + ".child", "w") as child:
    child.write(str(subprocess.Popen(["sleep", "60"]).pid))
"""
    api = reads(kubeconfig(server, plugin(server, tmp_path, PROGRAM + child)))
    await asyncio.wait_for(api.get(THE_SECRET), 20)
    os.kill(int((tmp_path / "runs.child").read_text()), signal.SIGKILL)


@pytest.mark.parametrize("down", [True, False], ids=["down", "silent"])
async def test_a_program_is_not_asked_again_while_the_server_is_away(
    server: KubernetesApi, reads: Reads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, down: bool
) -> None:
    """It may ask a person; and where the server is, is read with each try."""
    api = reads(kubeconfig(server, plugin(server, tmp_path)))
    await api.get(THE_SECRET)
    monkeypatch.setattr("proxy.kubernetes.api.LIMIT", 0.3)
    server.faults.stalled = not down
    if down:
        await server.stop()
    for _ in range(3):
        with pytest.raises(Unreachable):
            await api.get(THE_SECRET)
    assert (tmp_path / "runs").read_text() == "run\n"


async def test_a_program_that_says_too_much_is_ended(server: KubernetesApi, reads: Reads, tmp_path: Path) -> None:
    api = reads(kubeconfig(server, plugin(server, tmp_path, "while True: print('x' * 10000)")))
    assert "says more than 1MiB" in await asyncio.wait_for(fault_of(api), 10)
