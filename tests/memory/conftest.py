"""Fixtures: what the commands' tests have."""

from commands.conftest import app, machine, simulator

__all__ = ["app", "machine", "simulator"]
