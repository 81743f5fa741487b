"""The proxy itself as it ships, with an API key: guard and admin port are on. Any checkout of it, by its commit."""

import sys
from pathlib import Path
from typing import Final

import yaml

from bench.peer import ROOT, Command, Peer, Place, said

NAME: Final = "pandadoc-proxy"


def commit(checkout: Path) -> str:
    """Return the commit that is checked out, with a + where files differ from it. Raise Missing where there is none."""
    return said("git", "-C", checkout, "describe", "--always", "--exclude=*", "--dirty=+", "--abbrev=7")


def command(checkout: Path, place: Place) -> Command:
    """Start it with the checkout's own Python, if it has one: what it depends on may differ."""
    own = checkout / ".venv" / "bin" / "python"
    python = str(own) if own.exists() else sys.executable
    settings = {
        "listeners": [{"bind": f"127.0.0.1:{place.port}"}],
        "admin": {"bind": f"127.0.0.1:{place.admin_port}"},
        "upstream": {"url": f"https://localhost:{place.origin_port}", "ca_file": str(place.ca_file)},
        "credentials": {"default": {"api_key": {"file": f"{place.folder}/api-key"}}},
        "log": {"access": place.logged},
    }
    files = {"config.yaml": yaml.safe_dump(settings), "api-key": place.credential.removeprefix("API-Key ")}
    return Command((python, "-m", "proxy", "run", "--config", f"{place.folder}/config.yaml"), files, checkout)


def peer(checkout: Path, name: str = "") -> Peer:
    """Make a peer of a checkout; without a name it is called by its commit."""
    called = name or f"{NAME} at {commit(checkout)}"
    return Peer(called, lambda: commit(checkout), lambda place: command(checkout, place))


PEER: Final = peer(ROOT, NAME)
