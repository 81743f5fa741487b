"""Reloads by the fifty under load."""

from pathlib import Path

from aiohttp import ClientSession
from commands.process import Machine
from commands.test_reload import change_under_load


async def test_fifty_reloads_lose_no_request(
    machine: Machine, app: ClientSession, unused_tcp_port: int, *, full_size: bool
) -> None:
    """A changed policy, a changed secret, a listener that comes and goes."""
    config: Path = machine.home / "config.yaml"
    await change_under_load(machine, app, config, unused_tcp_port, 50 if full_size else 10)
