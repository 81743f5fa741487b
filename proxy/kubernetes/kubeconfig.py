"""Where the Kubernetes API is, as `kubectl` sees it: a kubeconfig's current context.

"Organizing Cluster Access Using kubeconfig Files": of several files the first to name a thing counts, and paths are
relative to their file. What would need a word of ours, or a person, is refused: passwords, auth-provider,
impersonation, a server that is not verified.
"""

import os
import ssl
from base64 import b64decode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Final

import msgspec
import yaml
from yarl import URL

from proxy.hosts import is_loopback
from proxy.kubernetes.cluster import Cluster, read_file, tls_context
from proxy.kubernetes.exec_plugin import ExecPlugin, Plugin
from proxy.kubernetes.faults import KubernetesFault
from proxy.kubernetes.tokens import FixedToken, TokenFile, Tokens
from proxy.secret_reader import SecretReader
from proxy.secrets import SecretReference, SecretUnavailable

REFUSED: Final = ("auth-provider", "username", "password", "as", "as-groups", "as-uid", "as-user-extra")
"""Ways of a user to show himself that are gone from Kubernetes, or that we don't know."""


FOR_PROGRAMS: Final = "client.authentication.k8s.io/exec"
"""The extension of a cluster that holds what its program is to know."""


class _Extension(msgspec.Struct, frozen=True):
    name: str
    extension: Any = None

    def __repr__(self) -> str:
        return f"<_Extension {self.name}>"


class _Named(msgspec.Struct, frozen=True):
    name: str
    cluster: dict[str, Any] | None = None
    context: dict[str, Any] | None = None
    user: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"<_Named {self.name}>"


class _File(msgspec.Struct, frozen=True, rename="kebab"):
    clusters: list[_Named] | None = None
    contexts: list[_Named] | None = None
    users: list[_Named] | None = None
    current_context: str | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    """A cluster, a context or a user, with the folder that its paths begin at."""

    values: dict[str, Any] = field(repr=False)
    folder: Path
    what: str  # for people

    def text(self, key: str) -> str:
        value = self.values.get(key) or ""
        if not isinstance(value, str) or "\0" in value:
            raise KubernetesFault(f"{self.what} has a {key} that is no text: correct it.")
        return value

    def path(self, key: str) -> Path | None:
        return self.folder / self.text(key) if self.text(key) else None

    def content(self, key: str) -> bytes | None:
        """Return what `KEY-data` holds, or the file that `KEY` names."""
        if data := self.text(f"{key}-data"):
            try:
                return b64decode("".join(data.split()), validate=True)
            except ValueError:
                raise KubernetesFault(f"{self.what} has a {key}-data that is not base64: correct it.") from None
        path = self.path(key)
        return None if path is None else read_file(path)


def from_kubeconfig(paths: Sequence[Path], reader: SecretReader, monotonic: Callable[[], float]) -> Cluster:
    """Make it from the current context. Raises KubernetesFault. Blocks."""
    files = [(path, _read(path)) for path in paths if path.exists() or len(paths) == 1]
    current = next((file.current_context for _, file in files if file.current_context), None)
    where = ", ".join(map(str, paths))
    if current is None:
        raise KubernetesFault(f"{where} has no current-context: run `kubectl config use-context NAME`.")
    context = _find(files, "context", current)
    cluster, user = (_find(files, kind, context.text(kind)) for kind in ("cluster", "user"))
    tls = _tls(cluster, user)
    return Cluster(
        server=_server(cluster),
        namespace=context.text("namespace") or "default",
        tls=tls,
        tokens=_tokens(user, cluster, reader, monotonic),
        proxy=_proxy(cluster),
        server_name=_server_name(cluster, tls),
    )


def _read(path: Path) -> _File:
    try:
        return msgspec.convert(yaml.load(read_file(path), Loader=yaml.CSafeLoader) or {}, type=_File)
    except (yaml.YAMLError, msgspec.ValidationError, RecursionError, ValueError, OverflowError):  # or an odd date
        raise KubernetesFault(f"{path} is not a kubeconfig: see `kubectl config view`.") from None


def _find(files: Sequence[tuple[Path, _File]], kind: str, name: str) -> _Entry:
    for path, file in files:
        for entry in getattr(file, f"{kind}s") or ():
            if entry.name == name:
                return _Entry(getattr(entry, kind) or {}, path.parent, f"The {kind} {name} of {path}")
    where = ", ".join(str(path) for path, _ in files)
    raise KubernetesFault(f"There is no {kind} {name or '(without a name)'} in {where}: see `kubectl config view`.")


def _url(text: str) -> URL:
    """Return it, or an empty one in place of what is none: the error would quote it, and it may hold a password."""
    try:
        url = URL(text)
    except ValueError:
        return URL()
    return url if url.host else URL()


def _server(cluster: _Entry) -> URL:
    server = _url(cluster.text("server"))
    secure = server.scheme == "https" or (server.scheme == "http" and is_loopback(server.host or ""))
    if not secure or server.raw_user is not None or server.raw_password is not None:
        raise KubernetesFault(f"{cluster.what} has no server at https://, without a user in it: correct it.")
    return server


def _proxy(cluster: _Entry) -> URL | None:
    if not cluster.text("proxy-url"):
        return None
    proxy = _url(cluster.text("proxy-url"))
    if proxy.scheme not in {"http", "https"}:
        raise KubernetesFault(
            f"{cluster.what} has a proxy-url that is no http:// or https:// URL, which alone are supported. In a"
            " password / @ : # ? % are written as %2F and so on."
        )
    return proxy


def _server_name(cluster: _Entry, tls: ssl.SSLContext) -> str | None:
    name = cluster.text("tls-server-name") or None
    try:
        tls.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=name or "localhost")
    except ValueError:  # an empty label, one too long
        raise KubernetesFault(f"{cluster.what} has a tls-server-name that is no name: correct it.") from None
    return name


def _tls(cluster: _Entry, user: _Entry) -> ssl.SSLContext:
    if cluster.values.get("insecure-skip-tls-verify"):
        raise KubernetesFault(
            f"{cluster.what} is not to be verified (insecure-skip-tls-verify), and a grant is not sent to whoever"
            " answers: give its certificate-authority."
        )
    context = tls_context(cluster.content("certificate-authority"))
    certificate, key = user.content("client-certificate"), user.content("client-key")
    if certificate is not None and key is not None:
        _load_pair(context, certificate, key, user)
    elif certificate is not None or key is not None:
        given, missing = ("certificate", "key") if key is None else ("key", "certificate")
        raise KubernetesFault(f"{user.what} has a client-{given} without a client-{missing}: give both.")
    return context


def _load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes, user: _Entry) -> None:
    """Load a certificate and its key, which OpenSSL takes from files alone: one that is ours, and gone at once."""
    with NamedTemporaryFile(prefix="pandadoc-proxy-") as pair:  # mode 0600
        pair.write(certificate + b"\n" + key)
        pair.flush()
        try:
            context.load_cert_chain(pair.name, password=lambda: "")
        except (ssl.SSLError, OSError):
            raise KubernetesFault(f"{user.what} has a client-certificate and client-key that are no pair.") from None


def _tokens(user: _Entry, cluster: _Entry, reader: SecretReader, monotonic: Callable[[], float]) -> Tokens:
    for key in REFUSED:
        if user.values.get(key):
            raise KubernetesFault(f"{user.what} has {key}, which is not supported: use a token, a certificate or exec.")
    if (path := user.path("tokenFile")) is not None:  # it goes before `token`, which may be an older one
        return TokenFile(SecretReference.file(path), reader, monotonic)
    if user.values.get("exec"):
        return ExecPlugin(_plugin(user, cluster))
    if not user.text("token"):
        return FixedToken(None)
    try:
        return FixedToken(SecretReference.literal(user.text("token"), f"the token of {user.what}").read())
    except SecretUnavailable:
        raise KubernetesFault(
            f"{user.what} has a token that is none: it must be one line of printable ASCII."
        ) from None


def _plugin(user: _Entry, cluster: _Entry) -> Plugin:
    try:
        plugin = msgspec.convert(user.values["exec"], type=Plugin)
        told = msgspec.json.encode(_told(cluster)) if plugin.provide_cluster_info else b""
    except (msgspec.ValidationError, TypeError, ValueError, RecursionError):  # or what JSON has no word for
        raise KubernetesFault(f"{user.what} has an exec that can't be read: see `kubectl config view`.") from None
    own = plugin.env or ()
    words = [plugin.command, *(plugin.args or ()), *(each.name + each.value for each in own)]
    if any("\0" in word for word in words) or any("=" in each.name for each in own):  # execve(2) ends them there
        raise KubernetesFault(
            f"{user.what} has an exec that can't be run: no part of it may have a NUL in it, and no env name a =."
        )
    # A path is from the kubeconfig's folder; else PATH is searched
    command = str(user.folder / plugin.command) if os.sep in plugin.command else plugin.command
    return msgspec.structs.replace(plugin, command=command, cluster=told)


def _told(cluster: _Entry) -> dict[str, object]:
    """Return what a program is told of the cluster it is asked for ("Client Authentication (v1)": Cluster)."""
    extensions = msgspec.convert(cluster.values.get("extensions") or [], type=list[_Extension])
    told = {
        "server": cluster.text("server"),
        "tls-server-name": cluster.text("tls-server-name"),
        "certificate-authority-data": cluster.content("certificate-authority"),
        "proxy-url": cluster.text("proxy-url"),
        "config": next((each.extension for each in extensions if each.name == FOR_PROGRAMS), None),
    }
    return {key: value for key, value in told.items() if value}
