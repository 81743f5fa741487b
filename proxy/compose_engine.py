"""The composition of engines, by which replicas share a grant; what is not configured is not even imported."""

import os
import random
from collections.abc import Awaitable, Callable

from proxy.clock import SystemClock
from proxy.config import KubernetesStore, RedisStore, SharedStore
from proxy.credential.engine import Engine
from proxy.secret_reader import SecretReader


def engine(store: SharedStore, owner: Callable[[], Awaitable[str]], reader: SecretReader) -> Engine:
    """Make the way to what replicas share; connects to nothing yet. `owner` names whose grant it is."""
    if isinstance(store, RedisStore):
        raise NotImplementedError  # RedisEngine arrives with the branch "redis"
    return _kubernetes(store, reader)


def _kubernetes(store: KubernetesStore, reader: SecretReader) -> Engine:
    from proxy.credential.kubernetes_engine import KubernetesEngine  # noqa: PLC0415 - see above
    from proxy.kubernetes.api import Api  # noqa: PLC0415
    from proxy.kubernetes.discovery import Discovery  # noqa: PLC0415

    clock = SystemClock()  # leases and streams last in real time, whatever a grant's clock says
    discovery = Discovery(os.environ, store.kubeconfig, reader, clock.monotonic)
    return KubernetesEngine(
        Api(discovery, clock),
        store.secret,
        namespace=store.namespace,
        lease=store.lease,
        clock=clock,
        jitter=random.random,
    )
