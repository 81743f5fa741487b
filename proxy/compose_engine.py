"""The composition of engines, by which replicas share a grant; what is not configured is not even imported."""

from collections.abc import Awaitable, Callable

from proxy.config import RedisStore, SharedStore
from proxy.credential.engine import Engine
from proxy.secret_reader import SecretReader


def engine(store: SharedStore, owner: Callable[[], Awaitable[str]], reader: SecretReader) -> Engine:
    """Make the way to what replicas share; connects to nothing yet. `owner` names whose grant it is."""
    if isinstance(store, RedisStore):
        raise NotImplementedError  # RedisEngine arrives with the branch "redis"
    raise NotImplementedError  # KubernetesEngine arrives with the branch "kube"
