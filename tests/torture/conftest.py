"""Fixtures of the tests that take long: what the commands' tests have, and how much is wanted."""

import os
import random

import pytest
from commands.conftest import app, danger, machine, simulator

__all__ = ["app", "chance", "danger", "full_size", "machine", "simulator"]


@pytest.fixture
def full_size() -> bool:
    """Tell whether everything is wanted; TORTURE=bounded asks for what CI has time for."""
    return os.environ.get("TORTURE") != "bounded"


@pytest.fixture
def chance() -> random.Random:
    """Return a source of moments. It is printed where a test fails; SEED=… plays the same ones again."""
    seed = int(os.environ.get("SEED") or random.SystemRandom().getrandbits(32))
    print(f"SEED={seed}")  # noqa: T201 - for whoever reads the failure
    return random.Random(seed)  # noqa: S311 - nothing is kept secret with it
