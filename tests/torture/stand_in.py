"""A stand-in for the image's base, where no registry of images is reached: Debian by debootstrap, and a CPython.

It has what the real base has and the Dockerfile relies on: Debian's files, an interpreter with pip in /usr/local, and
a PATH that finds it. The interpreter is copied from a prefix of its own, such as pyenv's.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = "ca-certificates,libbz2-1.0,libexpat1,libffi8,liblzma5,libsqlite3-0,libssl3,libuuid1,zlib1g"
"""What CPython's extension modules are linked with."""

LEFT_OUT: Final = ("site-packages", "test", "__pycache__", "config-*", "idlelib", "tkinter", "turtledemo")
"""What the real base lacks as well; pip is installed anew, by ensurepip."""


def base_name() -> str:
    """Return what the Dockerfile calls its base."""
    found = re.search(r"^ARG PYTHON=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert found
    return found[1]


def make(root: Path) -> None:
    """Lay out the stand-in's files below `root`."""
    suite = base_name().rpartition("-")[2]
    _run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite, str(root))
    _install(_interpreter(), root / "usr" / "local")
    _run("chroot", str(root), "/sbin/ldconfig")
    _run("chroot", str(root), "/usr/local/bin/python", "-m", "ensurepip", "--default-pip")
    for useless in ("var/cache/apt", "var/lib/apt/lists"):
        shutil.rmtree(root / useless)


def _interpreter() -> Path:
    """Find the prefix of the CPython that the base's name asks for, else of the newest that the project runs on."""
    wanted = base_name().partition(":")[2].partition("-")[0]
    supported = SpecifierSet(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"])
    installed = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    found = [each for each in installed.glob("3.*") if re.fullmatch(r"[\d.]+", each.name) and each.name in supported]
    newest_last = sorted(found, key=lambda prefix: (prefix.name.startswith(wanted), Version(prefix.name)))
    return newest_last[-1] if newest_last else Path(sys.base_prefix)


def _install(prefix: Path, target: Path) -> None:
    (program,) = (each for each in (prefix / "bin").glob("python3.*") if re.fullmatch(r"python3\.\d+", each.name))
    (target / "bin").mkdir(parents=True, exist_ok=True)
    shutil.copy2(program, target / "bin")
    for name in ("python3", "python"):
        (target / "bin" / name).symlink_to(program.name)
    for library in (prefix / "lib").glob("libpython3.*"):
        shutil.copy2(library, target / "lib", follow_symlinks=False)
    ours = target / "lib" / program.name
    shutil.copytree(prefix / "lib" / program.name, ours, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
    (ours / "site-packages").mkdir()


def _run(*words: str) -> None:
    program = shutil.which(words[0])
    assert program, f"{words[0]} is needed: Debian's packages debootstrap and coreutils have it"
    ended = subprocess.run([program, *words[1:]], capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
    assert ended.returncode == 0, f"{' '.join(words)}: {ended.stdout[-2000:]}{ended.stderr[-2000:]}"
