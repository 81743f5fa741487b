"""The composition of engines, by which replicas share a grant; what is not configured is not even imported."""

import os
import random
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from importlib.util import find_spec

from proxy.budget.ledger import Ledger, User
from proxy.clock import SystemClock
from proxy.config import Config, KubernetesStore, Redis, RedisStore, SharedStore
from proxy.config.rules import Finding, every_redis
from proxy.credential.engine import Engine
from proxy.credential.redis_address import BadAddress, parse
from proxy.secret_reader import SecretReader
from proxy.secrets import SecretUnavailable

NO_REDIS = (
    "redis-py is not installed: run pip install '.[redis]' in the checkout,"
    " or use an image of REQUIREMENTS=redis or otel"
)


def engine(store: SharedStore, owner: Callable[[], Awaitable[str]], reader: SecretReader) -> Engine:
    """Make the way to what replicas share; connects to nothing yet. `owner` names whose grant it is."""
    if isinstance(store, RedisStore):
        return _redis(store, owner, reader)
    return _kubernetes(store, reader)


def ledger(redis: Redis, user: User, reader: SecretReader, *, process: str, answer: float) -> Ledger:
    """Make the way to a rate budget that replicas share; connects to nothing yet. `user` names whose it is."""
    from proxy.credential.redis_client import Way  # noqa: PLC0415 - redis-py is an extra, and 10 MiB
    from proxy.redis_budget import RedisLedger  # noqa: PLC0415 - the same

    way = Way(redis.sentinel, cluster=redis.cluster, ca_file=redis.ca_file)
    url = partial(reader.read, redis.url)
    return RedisLedger(url, user, prefix=redis.prefix, way=way, process=process, answer=answer)


def unusable_engines(config: Config) -> Iterator[Finding]:
    """Find engines that can't be had: what they need is not installed, their address is none or no use of a key."""
    for path, redis in every_redis(config):
        if find_spec("redis") is None:
            yield Finding(path, NO_REDIS)
        try:
            address = parse(redis.url.read(), sentinel=redis.sentinel is not None, cluster=redis.cluster)
            if redis.ca_file is not None and not address.tls:
                yield Finding(f"{path}.ca_file", "is for TLS, which the url does not speak: write rediss:// there")
        except BadAddress as fault:
            yield Finding(f"{path}.url", str(fault), (f"{path}.sentinel", f"{path}.cluster"))
        except SecretUnavailable:
            pass  # told when it is needed: a file may come later


def _redis(store: RedisStore, owner: Callable[[], Awaitable[str]], reader: SecretReader) -> Engine:
    from proxy.credential.redis_client import Way  # noqa: PLC0415 - redis-py is an extra, and 10 MiB
    from proxy.credential.redis_engine import RedisEngine  # noqa: PLC0415 - the same

    way = Way(store.sentinel, cluster=store.cluster, ca_file=store.ca_file)
    return RedisEngine(partial(reader.read, store.url), owner, prefix=store.prefix, way=way)


def _kubernetes(store: KubernetesStore, reader: SecretReader) -> Engine:
    from proxy.credential.kubernetes_engine import KubernetesEngine  # noqa: PLC0415 - see above
    from proxy.kubernetes.api import Api  # noqa: PLC0415 - the same
    from proxy.kubernetes.discovery import Discovery  # noqa: PLC0415 - the same

    clock = SystemClock()  # leases and streams last in real time, whatever a grant's clock says
    discovery = Discovery(os.environ, store.kubeconfig, reader, clock.monotonic, namespace=store.namespace)
    return KubernetesEngine(
        Api(discovery, clock),
        store.secret,
        namespace=store.namespace,
        lease=store.lease,
        clock=clock,
        jitter=random.random,
    )
