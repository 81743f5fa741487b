"""What a peer is: a proxy that can be configured before the origin, started, and measured. No peer is in here.

A configuration is a file beside the peer's module with `$names` of the Place in it, so that it can be read, and
judged, as what it is.
"""

import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Final

ROOT: Final = Path(__file__).parents[1]
ENVIRONMENT: Final = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
"""All that a measured process gets: no proxy of the machine's, no credential."""


class Missing(Exception):
    """A peer that can't be had here, and why."""


@dataclass(frozen=True)
class Place:
    """Where a peer runs, and between whom: its folder and ports, the origin, the credential that it is to lend."""

    folder: Path
    port: int
    admin_port: int
    origin_port: int
    ca_file: Path
    credential: str
    """The whole value of `Authorization`."""
    logged: bool = False
    """Whether it writes an access log."""

    def fill(self, template: str, **more: str) -> str:
        """Put the place's values, and more, where their names are."""
        return Template(template).substitute({**vars(self), **more})


@dataclass(frozen=True)
class Command:
    """How a configured peer is started: in its folder are the files, each content by its name."""

    argv: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None


@dataclass(frozen=True)
class Peer:
    """One of those that are compared."""

    name: str
    version: Callable[[], str]
    """Says which version is here; raises Missing. May install it into an environment of its own, nowhere else."""
    command: Callable[[Place], Command]


def beside(module: str, name: str) -> str:
    """Read the template that lies beside a peer's module."""
    return Path(module).with_name(name).read_text(encoding="utf-8")


def installed(program: str) -> str:
    """Find a program of the system's. Raise Missing: installing it is for the person whose machine this is."""
    found = shutil.which(program, path=ENVIRONMENT["PATH"])
    if found is None:
        raise Missing(f"not installed: apt-get install --no-install-recommends {program}")
    return found


def said(*argv: str | Path) -> str:
    """Run a command that tells something about itself. Raise Missing with its last line where it fails."""
    ended = subprocess.run(argv, capture_output=True, text=True, check=False, env=ENVIRONMENT)  # noqa: S603 - peers' own
    lines = (ended.stdout + ended.stderr).strip().splitlines() or ["it says nothing"]
    if ended.returncode:
        raise Missing(lines[-1])
    return "\n".join(lines)
