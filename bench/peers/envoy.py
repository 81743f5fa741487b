"""Envoy with `credential_injector`, one worker: the one that others are compared with."""

import json
from pathlib import Path
from typing import Final

from bench.environments import FOLDER, environment
from bench.peer import Command, Peer, Place, beside, said

CONFIGURATION: Final = beside(__file__, "envoy.yaml")
SECRET: Final = {
    "resources": [
        {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            "name": "lent",
            "generic_secret": {"secret": {"filename": "$folder/secret"}},
        }
    ]
}
LOG: Final = {
    "name": "envoy.access_loggers.file",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "path": "$folder/access.log",
        "log_format": {
            "json_format": {
                "time": "%START_TIME%",
                "method": "%REQ(:METHOD)%",
                "path": "%REQ(:PATH)%",
                "status": "%RESPONSE_CODE%",
                "bytes_in": "%BYTES_RECEIVED%",
                "bytes_out": "%BYTES_SENT%",
                "ms": "%DURATION%",
                "flags": "%RESPONSE_FLAGS%",
            }
        },
    },
}


def program(folder: Path) -> Path:
    """Find the binary itself: the script beside it begins with a Python, which would count."""
    return next(folder.glob("lib/python*/site-packages/envoy/_bin/envoy"), folder / "bin" / "envoy")


def version() -> str:
    return said(program(environment("envoy")), "--version").rsplit("/", 4)[1]


def command(place: Place) -> Command:
    log = place.fill(json.dumps([LOG] if place.logged else []))
    files = {
        "envoy.yaml": place.fill(CONFIGURATION, access_log=log),
        "secret.yaml": place.fill(json.dumps(SECRET)),
        "secret": place.credential,
    }
    argv = [str(program(FOLDER / "envoy")), "-c", f"{place.folder}/envoy.yaml", "--concurrency", "1"]
    argv += ["--disable-hot-restart", "--log-level", "warning", "--service-node", "bench", "--service-cluster", "bench"]
    return Command(tuple(argv), files)


PEER: Final = Peer("Envoy", version, command)
