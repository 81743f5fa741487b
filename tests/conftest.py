"""Fixtures: houses to test in, opened and closed around each test."""

import asyncio
import gc
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from log_pipe import Pipe
from rig import House, TurnedClock, ground, oauth
from wire import free_port

from proxy import event_loop
from proxy.simulator import Simulator

os.environ["SSL_CERT_FILE"] = os.devnull
"""No test trusts whom this machine trusts; and a proxy spends no 15 ms on reading who that is."""

gc.disable()
"""Until all tests are collected; then what is there is never looked through again. It saves an eighth of their time."""

HouseMaker = Callable[..., Awaitable[House]]


def pytest_collection_finish() -> None:
    """Have the garbage collector see what the tests make, and nothing else."""
    gc.freeze()
    gc.enable()


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run every test on the loop that the proxy runs on."""
    return {"loop": event_loop.factory()}


@pytest.fixture
def unused_tcp_port() -> int:
    return free_port()


@pytest.fixture
def localhost_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `localhost` be at an address too that this machine lacks: ::1, in many a container's /etc/hosts.

    It is one of documentation (RFC 3849), to which nothing can be bound anywhere.
    """
    real, absent = socket.getaddrinfo, ("2001:db8::1", 0, 0, 0)

    def asked(host: str, *rest: Any, **more: Any) -> Any:
        if host != "localhost":
            return real(host, *rest, **more)
        there = real("127.0.0.1", *rest, **more)
        return [(socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", absent), *there]

    monkeypatch.setattr(socket, "getaddrinfo", asked)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    with Pipe() as opened:
        yield opened


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


def api_key_houses(stack: AsyncExitStack, folder: Path) -> HouseMaker:
    """Make what makes houses whose credential is an API key; `stack` closes them."""

    async def make(settings: Mapping[str, Any] | None = None, simulator: Mapping[str, Any] | None = None) -> House:
        upstream = Simulator(**(simulator or {}))
        await upstream.start()
        key = upstream.issue_api_key()
        credentials = {"credentials": {"default": {"api_key": "${KEY}"}}}
        merged = merge(ground(upstream), credentials, settings or {})
        return await stack.enter_async_context(House(upstream, folder, merged, {"KEY": key}, secrets={key}))

    return make


@pytest.fixture
async def api_key_house(stack: AsyncExitStack, tmp_path: Path) -> HouseMaker:
    """Make a house whose credential is an API key."""
    return api_key_houses(stack, tmp_path)


@pytest.fixture
async def oauth_house(stack: AsyncExitStack, tmp_path: Path) -> HouseMaker:
    """Make a house whose credential is an OAuth grant with an empty store and a seed.

    `seed_life`: seconds for which the seed's access token is good, if it is to have one.
    """

    async def make(
        settings: Mapping[str, Any] | None = None,
        simulator: Mapping[str, Any] | None = None,
        **credential: Any,
    ) -> House:
        clock = TurnedClock()
        upstream = Simulator(**{"clock": clock.wall, **(simulator or {})})
        await upstream.start()
        store = credential.pop("store", {"file": str(tmp_path / "grant.json")})
        seed_life = credential.pop("seed_life", None)
        if seed_life is not None:
            credential |= {"access_token": "${ACCESS_TOKEN}", "expires_at": str(int(clock.wall() + seed_life))}
        grant, environ = oauth(upstream, store, **credential)
        environ["ACCESS_TOKEN"] = upstream.issue_access_token()
        merged = merge(ground(upstream), grant, settings or {})
        house = House(upstream, tmp_path, merged, environ, clock=clock, secrets={upstream.client_secret})
        return await stack.enter_async_context(house)

    return make


def merge(*trees: Mapping[str, Any]) -> dict[str, Any]:
    """Lay later mappings over earlier ones, key by key."""
    merged: dict[str, Any] = {}
    for tree in trees:
        for key, value in tree.items():
            both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
            merged[key] = merge(merged[key], value) if both else value
    return merged
