"""What holds a grant, a token or a key prints none of it (law 16): a traceback or a log may print anything."""

from base64 import b64encode
from pathlib import Path
from ssl import create_default_context

import msgspec
import pytest
from yarl import URL

from proxy.kubernetes.cluster import Cluster
from proxy.kubernetes.connection import Answer, Call
from proxy.kubernetes.exec_plugin import Plugin, Variable, _ExecCredential, _Status
from proxy.kubernetes.kubeconfig import _Entry, _Extension, _File, _Named
from proxy.kubernetes.objects import Event, Metadata, Named, SecretList, SecretObject
from proxy.kubernetes.tokens import FixedToken
from proxy.secrets import Secret

WORD = "hunter2-hunter2"
HIDDEN = b64encode(WORD.encode())
USER = {"token": WORD, "client-key-data": HIDDEN.decode()}

SECRET = SecretObject(Metadata("7"), {"grant.json": HIDDEN})
GRANT = Named("", "secrets", "pandadoc-grant", "shop")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Call("patch", GRANT, {}, HIDDEN), "pandadoc-grant"),
        (Answer(200, 1.0, HIDDEN), "200"),
        (SECRET, "7"),
        (SecretList(Metadata("8"), [SECRET]), "8"),
        (Event("ADDED", msgspec.Raw(msgspec.json.encode({"data": WORD}))), "ADDED"),
        (_Status(WORD, "2026-11-26T00:00:00Z"), "2026-11-26"),
        (_ExecCredential("ExecCredential", _Status(WORD)), "ExecCredential"),
        (Plugin("cloud", args=["--secret", WORD], env=[Variable("KEY", WORD)], cluster=WORD.encode()), "cloud"),
        (_Extension("of the cloud's", {"key": WORD}), "of the cloud's"),
        (Variable("KEY", WORD), "KEY"),
        (_Named("me", user=USER), "me"),
        (_File(users=[_Named("me", user=USER)]), "me"),
        (_Entry(USER, Path("/home/me"), "The user me of config"), "The user me of config"),
        (
            Cluster(
                server=URL("https://10.96.0.1"),
                namespace="shop",
                tls=create_default_context(),
                tokens=FixedToken(Secret(WORD)),
                proxy=URL(f"http://me:{WORD}@proxy:3128"),
            ),
            "https://10.96.0.1",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_is_secret_is_not_printed_and_what_it_is_called_is(value: object, shown: str) -> None:
    printed = f"{value!r} {value} {[value]}"
    assert shown in printed
    assert WORD not in printed
    assert HIDDEN.decode() not in printed
