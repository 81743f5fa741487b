"""Config's way: YAML and environment become one frozen tree, or every fault at once.

    loader       finds the file and takes it through the stages
    document     YAML text → nodes with their lines (nodes); what YAML has beyond plain data is refused (syntax)
    environment  PANDADOC_PROXY__… laid over the nodes; credentials and proxy from the environment
    reader       nodes → structs by their types, every fault collected (scalars, references)
    sections     the structs: keys, defaults, and how values are written (units, addresses, sockets)
    completion   defaults that depend on other values
    rules        what must hold between values; files: what must hold of the files that are named
    faults       one fault a line: place, path, what to write instead; never a value
    describe     the tree as a dry run, for people
    schema       the same keys as JSON Schema, for editors (forms: how each type is written)

A value that comes out is complete: nothing that should be a URL is a string, and nothing is looked up later.
"""

from __future__ import annotations

from proxy.config.addresses import TcpBind, UnixBind
from proxy.config.describe import describe
from proxy.config.faults import BadConfig, Fault
from proxy.config.loader import DEFAULT_SEARCH, load, ports
from proxy.config.sections import (
    MEMBER,
    Admin,
    ApiKeyCredential,
    Client,
    Config,
    Credential,
    FileStore,
    KubernetesStore,
    Limits,
    Listener,
    Log,
    MemoryStore,
    OAuth2Credential,
    Policy,
    Ports,
    RateBudget,
    Redis,
    RedisStore,
    Replay,
    SharedStore,
    Shutdown,
    Tls,
    Upstream,
    WholePolicy,
)

__all__ = [
    "DEFAULT_SEARCH",
    "MEMBER",
    "Admin",
    "ApiKeyCredential",
    "BadConfig",
    "Client",
    "Config",
    "Credential",
    "Fault",
    "FileStore",
    "KubernetesStore",
    "Limits",
    "Listener",
    "Log",
    "MemoryStore",
    "OAuth2Credential",
    "Policy",
    "Ports",
    "RateBudget",
    "Redis",
    "RedisStore",
    "Replay",
    "SharedStore",
    "Shutdown",
    "TcpBind",
    "Tls",
    "UnixBind",
    "Upstream",
    "WholePolicy",
    "describe",
    "load",
    "ports",
]
