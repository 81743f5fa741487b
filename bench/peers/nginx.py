"""nginx with a static header: the wall that a proxy of bytes runs into."""

from typing import Final

from bench.peer import Command, Peer, Place, beside, installed, said

CONFIGURATION: Final = beside(__file__, "nginx.conf")


def version() -> str:
    return said(installed("nginx"), "-v").removeprefix("nginx version: nginx/")


def command(place: Place) -> Command:
    access_log = f"{place.folder}/access.log" if place.logged else "off"
    configuration = place.fill(CONFIGURATION, access_log=access_log)
    return Command(("nginx", "-p", str(place.folder), "-c", "nginx.conf"), {"nginx.conf": configuration})


PEER: Final = Peer("nginx", version, command)
