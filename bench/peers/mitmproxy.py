"""mitmproxy in reverse mode, with an addon of five lines."""

from typing import Final

from bench.environments import FOLDER, environment
from bench.peer import Command, Peer, Place, said

ADDON: Final = '''\
"""Lend the credential."""


def requestheaders(flow):
    flow.request.headers["Authorization"] = "$credential"
'''


def version() -> str:
    return said(environment("mitmproxy") / "bin" / "mitmdump", "--version").splitlines()[0].removeprefix("Mitmproxy: ")


def command(place: Place) -> Command:
    options = {
        "confdir": f"{place.folder}/ca",
        "ssl_verify_upstream_trusted_ca": place.ca_file,
        "stream_large_bodies": "1m",
        "flow_detail": int(place.logged),
        "termlog_verbosity": "warn",
    }
    return Command(
        (
            str(FOLDER / "mitmproxy" / "bin" / "mitmdump"),
            *("--mode", f"reverse:https://localhost:{place.origin_port}"),
            *("--listen-host", "127.0.0.1", "--listen-port", str(place.port)),
            *("--scripts", f"{place.folder}/addon.py"),
            *(word for name, value in options.items() for word in ("--set", f"{name}={value}")),
        ),
        {"addon.py": place.fill(ADDON)},
    )


PEER: Final = Peer("mitmproxy", version, command)
