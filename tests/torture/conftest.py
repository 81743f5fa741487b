"""Fixtures of the command tests, for processes under torture."""

from commands.conftest import app, machine, simulator

__all__ = ["app", "machine", "simulator"]
