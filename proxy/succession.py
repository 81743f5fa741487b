"""Which credential goes on as which when another configuration takes the place of one. Pure.

Two never go on as one, whatever they have in common: each lends one user's grant to that user's apps.
"""

from collections.abc import Callable, Mapping
from typing import Final

from proxy.config import ApiKeyCredential, Credential, KubernetesStore, MemoryStore, OAuth2Credential, RedisStore

Named = tuple[str, Credential]


def successors(earlier: Mapping[str, Credential], later: Mapping[str, Credential]) -> dict[str, str]:
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


def _same_name_and_grant(before: Named, after: Named) -> bool:
    return before[0] == after[0] and _same_grant(before, after)


def _same_grant(before: Named, after: Named) -> bool:
    return _grant(*before) == _grant(*after)


def _same_name_in_memory(before: Named, after: Named) -> bool:
    """Know again one whose refresh token is read elsewhere from now on."""
    (name, one), (another, other) = before, after
    return name == another and _owner_in_memory(one) == _owner_in_memory(other) is not None


_SIGNS: Final[tuple[Callable[[Named, Named], bool], ...]] = (_same_name_and_grant, _same_grant, _same_name_in_memory)
"""By what one is known again; the surer first."""


def _grant(name: str, credential: Credential) -> object:
    """Tell whose grant or key it is, by what is configured: what else is said of it are settings."""
    if isinstance(credential, ApiKeyCredential):
        return name, credential.api_key
    if isinstance(credential.store, MemoryStore):  # there it has no place of its own, and is known by its beginning
        return _owner_in_memory(credential), credential.refresh_token or name
    return credential.token_url, credential.client_id, _place(credential)


def _owner_in_memory(credential: Credential) -> object:
    if isinstance(credential, OAuth2Credential) and isinstance(credential.store, MemoryStore):
        return credential.token_url, credential.client_id
    return None


def _place(credential: OAuth2Credential) -> object:
    """Tell where a grant lies; how that is reached is a setting."""
    store = credential.store
    if isinstance(store, RedisStore):
        return "redis", store.url, store.prefix
    if isinstance(store, KubernetesStore):
        return "kubernetes", store.secret, store.namespace
    return store
