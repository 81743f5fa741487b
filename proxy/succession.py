"""Which credential goes on as which when another configuration takes the place of one. Pure.

Two never go on as one, whatever they have in common: each lends one user's grant to that user's apps.
References are compared as they are written: whoever asks has those written out that can be read (compose_credentials).
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from proxy.config import (
    ApiKeyCredential,
    Credential,
    FileStore,
    KubernetesStore,
    MemoryStore,
    OAuth2Credential,
    RedisStore,
    SharedStore,
)
from proxy.config.faults import shown

_ENDED: Final = (
    "the grant that is lent is in memory alone, and another client_id or token_url would end it: have it kept in a file"
    " first, by a reload with store: {file: …}, and change this then"
)
_COPIED: Final = (
    "replicas may share the grant that is lent, and each would go on with a copy until the first refreshes: run"
    " `pandadoc-proxy login` with this configuration, then restart"
)
_LEFT_BEHIND: Final = (
    "the grant of credential {} would stay behind, for a new name and a new store in one step make this another, and"
    " the refresh token that is configured is spent: rename it first, with the store that it has, and change the store"
    " by another reload"
)

Credentials = Mapping[str, Credential]
Named = tuple[str, Credential]


def successors(earlier: Credentials, later: Credentials) -> dict[str, str]:
    """Return the earlier name of each later credential that goes on with what one had."""
    found: dict[str, str] = {}
    left = dict(earlier)
    for same in _SIGNS:
        for after in later.items():
            if after[0] not in found:
                before = next((each for each in left.items() if same(each, after)), None)
                if before is not None:
                    found[after[0]] = before[0]
                    del left[before[0]]
    return found


def losses(earlier: Credentials, later: Credentials, found: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Name each earlier credential whose grant, if it has one by now, would be lost; with the key, and what to do."""
    for name, after in later.items():
        former = found.get(name, name)
        before = earlier.get(former)
        if not (isinstance(before, OAuth2Credential) and isinstance(after, OAuth2Credential)):
            continue
        path = f"credentials.{name}.oauth2"
        if former not in found.values() and isinstance(before.store, MemoryStore):
            yield former, f"{path}.client_id", _ENDED
        if name in found and isinstance(before.store, SharedStore) and not isinstance(after.store, SharedStore):
            yield former, f"{path}.store", _COPIED


def left_behind(earlier: Credentials, later: Credentials, found: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Name each earlier credential in a file that a later one seems to be, by another name and in another place.

    With that one's name, and what to do. In a file a grant is not known by the refresh token that is configured, for
    a person may have logged in since, as somebody else; so none goes on by it. But nothing else begins with it either,
    once it is spent.
    """
    gone = {name: each for name, each in earlier.items() if name not in found.values()}
    for name, after in later.items():
        if isinstance(after, OAuth2Credential) and name not in earlier and name not in found:
            for former, before in gone.items():
                filed = isinstance(before, OAuth2Credential) and isinstance(before.store, FileStore)
                if filed and not isinstance(after.store, SharedStore) and _same_seed((former, before), (name, after)):
                    yield former, name, _LEFT_BEHIND.format(shown(former))


def same_grant(before: Named, after: Named) -> bool:
    """Tell whether it is one client's in one place, or one key, by what is configured."""
    return _grant(*before) == _grant(*after)


def place(credential: OAuth2Credential) -> object:
    """Tell where a grant is kept; how that is reached is a setting."""
    store = credential.store
    if isinstance(store, RedisStore):
        return "redis", store.url, store.prefix
    if isinstance(store, KubernetesStore):
        return "kubernetes", store.secret, store.namespace
    return store


def _same_name_and_grant(before: Named, after: Named) -> bool:
    return before[0] == after[0] and same_grant(before, after)


def _same_beginning(before: Named, after: Named) -> bool:
    """Know a grant in memory again by its refresh token, wherever it is to be kept from now on."""
    _, one = before
    return isinstance(one, OAuth2Credential) and isinstance(one.store, MemoryStore) and _same_seed(before, after)


def _same_seed(before: Named, after: Named) -> bool:
    (_, one), (_, other) = before, after
    if not (isinstance(one, OAuth2Credential) and isinstance(other, OAuth2Credential)):
        return False
    known = one.refresh_token is not None
    return known and one.refresh_token == other.refresh_token and _client(one) == _client(other)


def _same_name(before: Named, after: Named) -> bool:
    """Know a grant again that is to be kept elsewhere, or whose refresh token is to be read elsewhere."""
    (name, one), (another, other) = before, after
    if not (isinstance(one, OAuth2Credential) and isinstance(other, OAuth2Credential)):
        return False
    return name == another and _client(one) == _client(other)


_SIGNS: Final[tuple[Callable[[Named, Named], bool], ...]] = (
    _same_name_and_grant,
    same_grant,
    _same_beginning,
    _same_name,
)
"""By what one is known again; the surer first."""


def _grant(name: str, credential: Credential) -> object:
    """Tell whose grant or key it is, by what is configured: what else is said of it are settings."""
    if isinstance(credential, ApiKeyCredential):
        return name, credential.api_key
    kept = place(credential)
    if isinstance(credential.store, MemoryStore):  # there it has no place of its own, and is known by its beginning
        kept = "memory", credential.refresh_token or name
    return _client(credential), kept


def _client(credential: OAuth2Credential) -> object:
    return credential.token_url, credential.client_id
