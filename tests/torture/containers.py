"""buildah and podman with a store of their own, and a way from a container's loopback to a simulator outside."""

import asyncio
import ctypes
import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from torture import stand_in
from yarl import URL

NEW_NETWORK: Final = 0x40000000
"""CLONE_NEWNET, for setns(2), which Python has from 3.12 on."""

SETTINGS: Final = """
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
"""
"""Nothing here asks systemd, and no limit is raised above what a container's parent has."""

NEEDED: Final = "install Debian's packages buildah, podman, runc, netavark, iptables and debootstrap"


@dataclass(frozen=True)
class Engine:
    """The two programs, and the folder that holds all they keep."""

    folder: Path

    @property
    def environ(self) -> dict[str, str]:
        return {"CONTAINERS_CONF": str(self.folder / "containers.conf"), "BUILDAH_ISOLATION": "chroot"}

    def words(self, program: str) -> list[str]:
        """Return how a program's command line begins."""
        found = shutil.which(program)
        assert found, NEEDED
        where = ["--root", str(self.folder / "store"), "--runroot", str(self.folder / "run")]
        return [found, *where, "--storage-driver", "overlay"]

    def podman(self, *words: str) -> str:
        return self._run("podman", *words)

    def tell(self, *words: str) -> Any:
        """Return podman's answer in JSON."""
        return msgspec.json.decode(self.podman(*words))

    def build(self) -> None:
        """Make the stand-in base, and the image from the Dockerfile, as `make image` tags it."""
        (self.folder / "networks").mkdir()
        (self.folder / "containers.conf").write_text(SETTINGS.format(folder=self.folder))
        base = self.folder / "base"
        stand_in.make(base)
        archive = shutil.make_archive(str(base), "tar", base)
        path = "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
        self.podman("import", "--change", f"ENV {path}", archive, stand_in.base_name())
        # A machine may reach its index through a proxy whose authority the base does not know.
        authorities = Path(ssl.get_default_verify_paths().openssl_cafile)  # SSL_CERT_FILE is the tests' own (conftest)
        volume = [f"--volume={authorities}:/etc/ssl/certs/ca-certificates.crt:ro"] if authorities.is_file() else []
        options = ["--format=docker", "--layers", "--pull-never", "--build-arg=REVISION=checked", *volume]
        self._run("buildah", "bud", *options, "--tag", "pandadoc-proxy:0.1.0", str(stand_in.ROOT))

    def end(self) -> None:
        """Remove the containers and all that was kept."""
        self.podman("rm", "--force", "--all", "--volumes")
        mounts = Path("/proc/mounts").read_text()
        for place in re.findall(rf"^\S+ ({re.escape(str(self.folder))}\S*)", mounts, re.MULTILINE)[::-1]:
            subprocess.run(["umount", place], check=True)  # noqa: S603, S607 - it stands in the kernel's table
        shutil.rmtree(self.folder)

    def _run(self, program: str, *words: str) -> str:
        line = [*self.words(program), *words]
        environ = {**os.environ, **self.environ}
        ended = subprocess.run(line, capture_output=True, text=True, check=False, env=environ)  # noqa: S603 - a test's words
        assert ended.returncode == 0, f"{' '.join(words)}: {ended.stdout[-2000:]}{ended.stderr[-2000:]}"
        return ended.stdout


@asynccontextmanager
async def loopback(pid: int, port: int, url: str) -> AsyncIterator[None]:
    """Have what listens at `url` answer at a port of a container's own loopback as well.

    The proxy speaks plain http with a loopback alone, and a container's loopback is not ours.
    """

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(URL(url).host, URL(url).port)
        await asyncio.gather(_pump(reader, back), _pump(there, writer), return_exceptions=True)

    server = await asyncio.start_server(relay, sock=_listening_inside(pid, port))
    try:
        yield
    finally:
        server.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


def _listening_inside(pid: int, port: int) -> socket.socket:
    """Return a socket in another process' network: a thread goes there, makes it, and ends."""

    def listen() -> socket.socket:
        libc = ctypes.CDLL(None, use_errno=True)
        with Path(f"/proc/{pid}/ns/net").open() as network:
            assert libc.setns(network.fileno(), NEW_NETWORK) == 0, os.strerror(ctypes.get_errno())
        return socket.create_server(("127.0.0.1", port))

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(listen).result()
