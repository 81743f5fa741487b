"""The files that a configuration is in or names: the document, the CA file, secret files; and users and groups.

The one place where the configuration touches the disk, besides `SecretReference.read`.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

from proxy import certificates
from proxy.config.document import MAX_CHARACTERS, Unreadable
from proxy.config.faults import join
from proxy.config.nodes import Place
from proxy.config.rules import Finding, clients, every_redis, lent
from proxy.config.sections import ApiKeyCredential, OAuth2Credential
from proxy.secrets import SHORTEST_CLIENT_KEY, SecretUnavailable, flaw_of_api_key, irregular
from proxy.unix_socket import owner_ids

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from proxy.config.sections import Config, Listener
    from proxy.secrets import Secret, SecretReference

MOST_BYTES = 4 * MAX_CHARACTERS + 1  # UTF-8 has 4 bytes a character at most; one more shows that there are more
_UNLENDABLE = "its credential can't be lent"
_CA_FILE = "upstream.ca_file"


def document_text(path: Path) -> str | None:
    """Read a configuration file; None if there is none. Raises Unreadable."""
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES).decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():  # somebody's policy is meant to be there: the defaults would allow what it forbids
            raise Unreadable(Place(str(path)), "is a link to nothing: restore what it leads to, or remove it") from None
        return None
    except OSError as error:
        raise Unreadable(Place(str(path)), f"can't be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise Unreadable(Place(str(path)), "is not UTF-8 text: save it as UTF-8") from None


def faults(config: Config) -> Iterator[Finding]:
    """Yield what is wrong with files that must be there from the start, and with users and groups."""
    if config.upstream.ca_file is not None:
        flaw = _flaw_of_ca_file(config.upstream.ca_file)
        if flaw:
            yield Finding(_CA_FILE, flaw)
    for index, listener in enumerate(config.listeners):
        yield from _flaws_of_listener(f"listeners.{index}", listener)


def _flaws_of_listener(path: str, listener: Listener) -> Iterator[Finding]:
    try:
        if listener.owner is not None:
            owner_ids(listener.owner.user, listener.owner.group)
    except LookupError as flaw:
        yield Finding(f"{path}.owner", str(flaw))
    if listener.tls is not None:
        for wrong in certificates.flaws(listener.tls):
            yield Finding(f"{path}.tls.{wrong.part}", str(wrong))


def _flaw_of_ca_file(path: Path) -> str | None:
    try:
        if irregular(path):
            return f"{path} is not a regular file: name a PEM file"
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        return f"{path} holds no certificate: name a PEM file"
    except OSError as error:
        return f"{path} can't be read: {error.strerror}"
    return None


def warnings(config: Config) -> Iterator[Finding]:
    """Yield certificates that nobody will trust, and files that can't be read yet; the start goes on.

    Such files may be mounted later.
    """
    for index, listener in enumerate(config.listeners):
        with suppress(certificates.CertificateFlaw, OSError):  # whole a moment ago: they are replaced just now
            if listener.tls is not None and (text := certificates.doubt(listener.tls)):
                yield Finding(f"listeners.{index}.tls.cert", text)
    for path, secret in secrets(config):
        yield from _unreadable(path, secret, _UNLENDABLE)
    for path, redis in every_redis(config):
        yield from _unreadable(f"{path}.url", redis.url, "Redis can't be asked")
        if redis.ca_file is not None and (flaw := _flaw_of_ca_file(redis.ca_file)):
            yield Finding(f"{path}.ca_file", f"{flaw}; until then Redis can't be asked")
    yield from _unlendable_keys(config)
    yield from _useless_keys(config)


def lacking(config: Config, served: Config) -> Iterator[Finding]:
    """Yield secrets of credentials that are to be lent, and can't be read yet: what is answered now would fail.

    One of a credential that `served` lends may be away for a moment, while it is replaced.
    """
    known = {secret for _, secret in _needed(served)}
    needed = {path: secret for path, secret in _needed(config) if secret not in known}
    for path, secret in needed.items():
        yield from _unreadable(path, secret, _UNLENDABLE)
    yield from (finding for finding in _unlendable_keys(config) if finding.path in needed)


def _needed(config: Config) -> Iterator[tuple[str, SecretReference]]:
    """Yield the secrets that credentials which are lent can't do without. They can without a seed: a grant has one."""
    for _, name in lent(config):
        item, path = config.credentials.get(name), join("credentials", name)
        if isinstance(item, ApiKeyCredential):
            yield f"{path}.api_key", item.api_key
        elif isinstance(item, OAuth2Credential):
            yield f"{path}.oauth2.client_id", item.client_id
            yield f"{path}.oauth2.client_secret", item.client_secret


def _unlendable_keys(config: Config) -> Iterator[Finding]:
    for name, item in config.credentials.items():
        if isinstance(item, ApiKeyCredential) and item.api_key.kind == "file":
            with suppress(SecretUnavailable):
                if flaw := flaw_of_api_key(item.api_key.read()):
                    yield Finding(
                        f"{join('credentials', name)}.api_key",
                        f"{item.api_key.describe()} {flaw}; until then {_UNLENDABLE}",
                    )


def _useless_keys(config: Config) -> Iterator[Finding]:
    """Yield what is wrong with clients' keys in files now: they may be replaced later, so the start goes on."""
    holders: dict[tuple[str, Secret], str] = {}
    for path, client in clients(config):
        yield from _unreadable(f"{path}.key", client.key, "nobody can be this client but with a key read before")
        with suppress(SecretUnavailable):
            key, (listener, _, name) = client.key.read(), path.rpartition(".")
            holder = holders.setdefault((listener, key), name)
            if client.key.kind == "file" and len(key.reveal()) < SHORTEST_CLIENT_KEY:
                yield Finding(f"{path}.key", f"has fewer than {SHORTEST_CLIENT_KEY} characters, and is not taken")
            if holder != name and client.key.kind == "file":
                yield Finding(f"{path}.key", f"is the key of client {holder} too: nobody can be either of them")


def _unreadable(path: str, secret: SecretReference, until_then: str) -> Iterator[Finding]:
    if secret.kind == "file":
        try:
            secret.read()
        except SecretUnavailable as error:
            yield Finding(path, f"{error}; until then {until_then}")


def secrets(config: Config) -> Iterator[tuple[str, SecretReference]]:
    """Yield every secret that the configuration refers to, with its path."""
    for name, item in config.credentials.items():
        path = join("credentials", name)
        if isinstance(item, ApiKeyCredential):
            yield f"{path}.api_key", item.api_key
            continue
        for key in ("client_id", "client_secret", "refresh_token", "access_token"):
            secret = getattr(item, key)
            if secret is not None:
                yield f"{path}.oauth2.{key}", secret
