"""A stand-in for a Kubernetes API server: Secrets and Leases, watched, over TLS, for whom our own manifests allow it.

It is broken where a test says so. No kube-apiserver can be had where the tests run: what this one does is written
after the documentation, and has tests of its own.
"""

import asyncio
import json
import re
import ssl
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import trustme
import yaml
from aiohttp import web
from kubernetes_objects import API_VERSIONS, KINDS, Key, Object, Objects, Problem
from mounted import MountedFolder

NAMESPACE: Final = "shop"
SECRET: Final = "pandadoc-grant"
LEASE: Final = "pandadoc-grant"

PATH: Final = re.compile(
    r"(?:/api/v1|/apis/(?P<group>[a-z.0-9]+)/v1)/namespaces/(?P<namespace>[^/]+)/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?"
)
GROUPS: Final = {"secrets": "", "leases": "coordination.k8s.io"}
BY_NAME: Final = re.compile(r"metadata\.name==?(?P<name>[a-z0-9.-]+)")
MERGE_PATCH: Final = "application/merge-patch+json"

BIND: Final = "127.0.0.1"

UNHEARD: Final = 299
"""What stands in `seen` for an answer that nobody was given."""


MANIFESTS: Final = Path(__file__).parents[1] / "deploy" / "kubernetes" / "fleet"


@dataclass(frozen=True)
class Rule:
    """A PolicyRule (rbac.authorization.k8s.io/v1) with names."""

    group: str
    plural: str
    names: frozenset[str]  # empty: all
    verbs: frozenset[str]

    def allows(self, ask: "Ask") -> bool:
        named = not self.names or ask.name in self.names
        return named and (self.group, self.plural) == (ask.group, ask.plural) and ask.verb in self.verbs


def granted() -> list[Rule]:
    """Return what the Role that we ship allows, and nothing else."""
    documents = yaml.safe_load_all((MANIFESTS / "account.yaml").read_text())
    (role,) = (each for each in documents if each["kind"] == "Role")
    return [
        Rule(group, plural, frozenset(rule.get("resourceNames", ())), frozenset(rule["verbs"]))
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for plural in rule["resources"]
    ]


@dataclass(frozen=True)
class Ask:
    """A request as an authorizer sees it: a list or watch of one name has that name (RequestInfo)."""

    verb: str
    group: str
    namespace: str
    plural: str
    name: str | None

    @classmethod
    def of(cls, request: web.BaseRequest) -> Self:
        found = PATH.fullmatch(request.path)
        if found is None or GROUPS.get(found["plural"]) != (found["group"] or ""):
            raise Problem(404, "NotFound", "the server could not find the requested resource")
        name, verb = found["name"], {"GET": "get", "PATCH": "patch", "PUT": "update", "POST": "create"}[request.method]
        if name is None and verb == "get":
            verb = "watch" if request.query.get("watch") in {"1", "true"} else "list"
            selected = BY_NAME.fullmatch(request.query.get("fieldSelector", ""))
            name = selected["name"] if selected else None
        return cls(verb, found["group"] or "", found["namespace"], found["plural"], name)

    @property
    def key(self) -> Key:
        assert self.name is not None
        return Key(self.plural, self.namespace, self.name)

    def __str__(self) -> str:
        return f"{self.verb} {self.plural}"


@dataclass
class Moment:
    """A patch that will be made, and what is to happen then, in place of an answer. `number` counts down to it."""

    plural: str
    number: int
    then: Callable[[str], None]  # is given the token of whoever patches
    made: bool  # whether it happens when the patch was made; else before, and then it is not made at all

    def has_come(self, ask: Ask) -> bool:
        self.number -= ask.plural == self.plural
        return self.number == 0 and ask.plural == self.plural


@dataclass
class Faults:
    """What a test wants broken; each field changes by its hand alone, `throttled` and `lost` also by being obeyed."""

    throttled: int = 0  # how many calls are answered 429
    retry_after: str | None = "1"
    status: int = 0  # what all calls are answered, if any
    answer: Callable[[], web.Response] | None = None  # makes what all calls are answered with
    stalled: bool = False  # calls are not answered at all
    lost: int = 0  # how many patches are made and not answered
    meddled: int = 0  # how many patches come just behind another hand's
    forgetful: bool = False  # a watch of an old version is answered with 410 itself, and with no event
    deaf: bool = False  # watches stay open and tell nothing
    dribble: float = 0.0  # seconds between the two halves of an event
    cut: bool = False  # a watch ends after half an event
    moment: Moment | None = None
    webhook: Callable[[Object], Object] | None = None  # what admission makes of a patch to a Secret, before it is made


@dataclass
class KubernetesApi:
    """One API server and what it keeps. `seen` grows with each request; tokens come and go by `rotate`."""

    folder: Path
    rules: Sequence[Rule] = field(default_factory=granted)
    newest_tls: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    bookmarks: float = 0.05  # seconds between two of them; a real one takes about a minute
    port: int = 0
    objects: Objects = field(default_factory=Objects)
    faults: Faults = field(default_factory=Faults)
    seen: list[tuple[str, int]] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)
    tokens: set[str] = field(default_factory=set)
    ca: trustme.CA = field(default_factory=trustme.CA)
    clients: trustme.CA = field(default_factory=trustme.CA)  # whose certificates may do all

    def __post_init__(self) -> None:
        self.mount = MountedFolder(self.folder / "serviceaccount")
        self._changed = asyncio.Event()
        self._watches: set[asyncio.Task[Any]] = set()
        self._runner: web.ServerRunner | None = None
        self.rotate()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # As a pod sees it

    @property
    def environ(self) -> dict[str, str]:
        return {"KUBERNETES_SERVICE_HOST": BIND, "KUBERNETES_SERVICE_PORT": str(self.port)}

    @property
    def token(self) -> str:
        return (self.mount.path / "token").read_text()

    def rotate(self) -> None:
        """Have the kubelet write another token; the one before is worth nothing from here on."""
        token = f"service-account-token-{id(self):x}-{self.mount.versions}"
        self.tokens = {token}
        self.mount.put(token=token.encode(), namespace=NAMESPACE.encode(), **{"ca.crt": self.ca.cert_pem.bytes()})

    def kubeconfig(self) -> tuple[Path, str]:
        """Write the kubeconfig of one more replica; return it and the token that it shows."""
        name = f"replica-{len(self.tokens)}"
        folder, token = self.folder / name, f"service-account-token-of-{name}-{id(self):x}"
        folder.mkdir()
        (folder / "token").write_text(token)
        (folder / "ca.crt").write_bytes(self.ca.cert_pem.bytes())
        self.tokens.add(token)
        cluster = {"server": f"https://{BIND}:{self.port}", "certificate-authority": "ca.crt"}
        config = {
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"tokenFile": "token"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}],
            "current-context": "x",
        }
        (folder / "config").write_text(yaml.safe_dump(config))
        return folder / "config", token

    def renew_authority(self) -> None:
        """Have another authority from the next start on; pods are told of it."""
        self.ca = trustme.CA()
        self.mount.put(**{"ca.crt": self.ca.cert_pem.bytes()})

    # As an administrator sees it

    def apply_manifests(self) -> None:
        """Make what we ship: `kubectl create -f grant.yaml`."""
        for each in yaml.safe_load_all((MANIFESTS / "grant.yaml").read_text()):
            plural = f"{each['kind'].lower()}s"
            self.objects.create(Key(plural, NAMESPACE, each["metadata"]["name"]), each)

    @property
    def secret(self) -> Object:
        return self.objects.get(Key("secrets", NAMESPACE, SECRET))

    @property
    def record(self) -> Object:
        """What the replicas keep in the Secret; {} if nothing is."""
        kept: Object = json.loads(b64decode((self.secret.get("data") or {}).get("grant.json", "e30=")))
        return kept

    @property
    def lease(self) -> Object:
        spec: Object = self.objects.get(Key("leases", NAMESPACE, LEASE)).get("spec", {})
        return spec

    def edit(self, plural: str, name: str = SECRET, **patch: Any) -> None:
        """`kubectl edit`."""
        self.objects.merge(Key(plural, NAMESPACE, name), patch)
        self.tell()

    def put(self, content: bytes) -> None:
        self.edit("secrets", data={"grant.json": b64encode(content).decode()})

    def delete(self, plural: str, name: str = SECRET) -> None:
        self.objects.delete(Key(plural, NAMESPACE, name))
        self.tell()

    def tell(self) -> None:
        """Wake the watches."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def drop_watches(self) -> None:
        for watch in self._watches:
            watch.cancel()

    def calls(self, what: str) -> list[int]:
        """Return how each such request was answered; 0 stands for a watch."""
        return [status for ask, status in self.seen if ask == what]

    # Serving

    async def start(self) -> None:
        leaf = self.ca.issue_cert(BIND, "localhost")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        leaf.configure_cert(context)
        self.clients.configure_trust(context)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.maximum_version = self.newest_tls
        self._runner = web.ServerRunner(web.Server(self._serve), shutdown_timeout=0.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, BIND, self.port, ssl_context=context, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            self.drop_watches()
            await self._runner.cleanup()
            self._runner = None

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        self.agents.add(request.headers.get("User-Agent", ""))
        ask: Ask | None = None
        try:
            ask = Ask.of(request)
            return self._noted(ask, await self._answer(ask, request))
        except Problem as problem:
            answer = web.json_response(problem.status(), status=problem.code)
            if problem.code == 429 and self.faults.retry_after is not None:
                answer.headers["Retry-After"] = self.faults.retry_after
            return self._noted(ask, answer) if ask else answer

    def _noted(self, ask: Ask, answer: web.StreamResponse) -> web.StreamResponse:
        if ask.verb != "watch" or answer.status != 200:
            self.seen.append((str(ask), answer.status))
        return answer

    async def _answer(self, ask: Ask, request: web.BaseRequest) -> web.StreamResponse:
        body = b"".join([chunk async for chunk in request.content.iter_any()])  # an API server takes 3 MiB
        self._admit(ask, request)
        await self._break(request)
        if self.faults.answer is not None:
            return self.faults.answer()
        if ask.verb == "watch":
            return await self._watch(ask, request)
        if ask.verb in {"list", "get"}:
            return web.json_response(self._listed(ask) if ask.verb == "list" else self.objects.get(ask.key))
        return self._change(ask, request, body)

    def _change(self, ask: Ask, request: web.BaseRequest, body: bytes) -> web.Response:
        if self.faults.meddled:
            self.faults.meddled -= 1
            self.edit(ask.plural, ask.key.name, metadata={"annotations": {"number": str(self.faults.meddled)}})
        moment = self.faults.moment
        if moment is not None and not (self._will_do(ask, body) and moment.has_come(ask)):
            moment = None
        if moment is not None and not moment.made:
            return self._cut_off(request, moment)
        written = self._written(ask, request, body)
        self.tell()
        if ask.verb == "patch" and self.faults.lost:
            self.faults.lost -= 1
            return self._cut_off(request)
        return web.json_response(written) if moment is None else self._cut_off(request, moment)

    def _will_do(self, ask: Ask, body: bytes) -> bool:
        version = json.loads(body)["metadata"]["resourceVersion"]
        return bool(version == self.objects.get(ask.key)["metadata"]["resourceVersion"])

    def _cut_off(self, request: web.BaseRequest, moment: Moment | None = None) -> web.Response:
        """End the connection without an answer."""
        if moment is not None:
            self.faults.moment = None
            moment.then(_token(request))
        assert request.transport is not None
        request.transport.abort()
        return web.Response(status=UNHEARD)

    def _admit(self, ask: Ask, request: web.BaseRequest) -> None:
        if request.get_extra_info("peercert"):
            return
        token = _token(request)
        if token not in self.tokens:
            raise Problem(401, "Unauthorized", "Unauthorized")
        if ask.namespace != NAMESPACE or not any(rule.allows(ask) for rule in self.rules):
            raise Problem(403, "Forbidden", f'cannot {ask.verb} resource "{ask.plural}" with the token {token}')

    async def _break(self, request: web.BaseRequest) -> None:
        while self.faults.stalled:
            await asyncio.sleep(0.01)
            if request.transport is None or request.transport.is_closing():
                raise Problem(504, "Timeout")
        if self.faults.throttled:
            self.faults.throttled -= 1
            raise Problem(429, "TooManyRequests", "the server has received too many requests")
        if self.faults.status:
            raise Problem(self.faults.status, "InternalError", f"etcd says {next(iter(self.tokens))}")

    def _written(self, ask: Ask, request: web.BaseRequest, body: bytes) -> Object:
        if ask.verb == "patch" and request.content_type != MERGE_PATCH:
            raise Problem(415, "UnsupportedMediaType")
        try:
            wanted = json.loads(body)
        except ValueError as fault:
            raise Problem(400, "BadRequest") from fault
        if self.faults.webhook is not None and ask.plural == "secrets":
            wanted = self.faults.webhook(wanted)
        if ask.verb == "create":
            return self.objects.create(ask.key, wanted)
        return (self.objects.merge if ask.verb == "patch" else self.objects.replace)(ask.key, wanted)

    def _listed(self, ask: Ask) -> Object:
        """Return a list; its items say no kind, and its version is the whole API's."""
        chosen = [each for key, each in self.objects.kept.items() if key.plural == ask.plural and _chosen(key, ask)]
        return {
            "kind": f"{KINDS[ask.plural]}List",
            "apiVersion": API_VERSIONS[ask.plural],
            "metadata": {"resourceVersion": str(self.objects.revision)},
            "items": [{name: each[name] for name in each if name not in {"kind", "apiVersion"}} for each in chosen],
        }

    # Watching

    async def _watch(self, ask: Ask, request: web.BaseRequest) -> web.StreamResponse:
        revision = int(request.query["resourceVersion"])
        forgotten = self._forgotten(revision)
        if forgotten is not None and self.faults.forgetful:
            raise forgotten
        stream = web.StreamResponse(headers={"Content-Type": "application/json"})
        stream.enable_chunked_encoding()
        await stream.prepare(request)
        self.seen.append((str(ask), 0))
        task = asyncio.current_task()
        assert task is not None
        self._watches.add(task)
        try:
            if forgotten is not None:
                await self._tell_one(stream, {"type": "ERROR", "object": forgotten.status()})
            else:
                await self._tell_all(ask, stream, revision, float(request.query.get("timeoutSeconds", "1800")))
        except (asyncio.CancelledError, ConnectionError):
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._watches.discard(task)
        return stream

    def _forgotten(self, revision: int) -> Problem | None:
        if revision >= self.objects.forgotten:
            return None
        return Problem(410, "Expired", f"too old resource version: {revision} ({self.objects.forgotten})")

    async def _tell_all(self, ask: Ask, stream: web.StreamResponse, revision: int, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while (left := end - loop.time()) > 0:
            changed = self._changed
            for change in list(self.objects.since(revision, ask.plural, ask.namespace, ask.name)):
                revision = change.revision
                await self._tell_one(stream, {"type": change.type, "object": change.object})
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, self.bookmarks)):
                    await changed.wait()
                    continue
            if left < self.bookmarks:
                return
            if changed.is_set():  # in the very moment: a bookmark must not pass over it
                continue
            revision = self.objects.revision
            identity = {"kind": KINDS[ask.plural], "apiVersion": API_VERSIONS[ask.plural]}
            bookmark = {**identity, "metadata": {"resourceVersion": str(revision)}}
            await self._tell_one(stream, {"type": "BOOKMARK", "object": bookmark})

    async def _tell_one(self, stream: web.StreamResponse, event: Object) -> None:
        if self.faults.deaf:
            return
        line = json.dumps(event).encode() + b"\n"
        half = len(line) // 2
        await stream.write(line[:half])
        if self.faults.cut and event["type"] != "BOOKMARK":
            raise ConnectionResetError
        await asyncio.sleep(self.faults.dribble)
        await stream.write(line[half:])


def _token(request: web.BaseRequest) -> str:
    return request.headers.get("Authorization", "").removeprefix("Bearer ")


def _chosen(key: Key, ask: Ask) -> bool:
    return key.namespace == ask.namespace and ask.name in {None, key.name}
