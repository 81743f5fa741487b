"""HAProxy with a static header."""

from typing import Final

from bench.peer import Command, Peer, Place, beside, installed, said

CONFIGURATION: Final = beside(__file__, "haproxy.cfg")


def version() -> str:
    return said(installed("haproxy"), "-v").split()[2]


def command(place: Place) -> Command:
    to, what = ("log stdout format raw local0", "option httplog\n  log global") if place.logged else ("", "")
    configuration = place.fill(CONFIGURATION, log_to=to, log_what=what)
    return Command(("haproxy", "-db", "-f", f"{place.folder}/haproxy.cfg"), {"haproxy.cfg": configuration})


PEER: Final = Peer("HAProxy", version, command)
