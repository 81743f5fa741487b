"""Which credential goes on as which: a table of configurations before and after."""

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from proxy.config import (
    ApiKeyCredential,
    Credential,
    FileStore,
    KubernetesStore,
    MemoryStore,
    OAuth2Credential,
    RedisStore,
)
from proxy.secrets import SecretReference
from proxy.succession import left_behind, losses, successors


def env(name: str) -> SecretReference:
    return SecretReference.env(name, {})


def grant(seed: str | None = None, *, client: str = "CLIENT", store: Any = None, **more: Any) -> OAuth2Credential:
    return OAuth2Credential(
        client_id=env(client),
        client_secret=env("SECRET"),
        refresh_token=None if seed is None else env(seed),
        store=store or MemoryStore(),
        **more,
    )


def key(name: str) -> ApiKeyCredential:
    return ApiKeyCredential(api_key=env(name))


REDIS = RedisStore(url=env("URL"))
SECRET = KubernetesStore(secret="grant")

SAID: list[tuple[str, dict[str, Credential], dict[str, Credential], dict[str, str]]] = [
    ("a key goes on under its name", {"a": key("A")}, {"a": key("A")}, {"a": "a"}),
    ("another key is another", {"a": key("A")}, {"a": key("B")}, {}),
    ("a key that is renamed is told of by another name", {"a": key("A")}, {"b": key("A")}, {}),
    ("a grant is no key", {"a": key("A")}, {"a": grant("A")}, {}),
    ("settings are settings", {"a": grant("A")}, {"a": grant("A", scope="read", wait=1.0)}, {"a": "a"}),
    ("a grant in memory is known by its seed", {"a": grant("A")}, {"b": grant("A")}, {"b": "a"}),
    ("without one by its name", {"a": grant()}, {"a": grant(), "b": grant()}, {"a": "a"}),
    ("a seed that is read elsewhere", {"a": grant("A")}, {"a": grant("B")}, {"a": "a"}),
    ("a seed that is there at last", {"a": grant()}, {"a": grant("A")}, {"a": "a"}),
    ("of two, each by its seed", {"a": grant("A"), "b": grant("B")}, {"a": grant("B")}, {"a": "b"}),
    ("who is gone leaves nothing to another", {"a": grant("A")}, {"b": grant("B")}, {}),
    ("who takes a name takes no grant", {"a": grant("A")}, {"a": grant("B"), "b": grant("A")}, {"b": "a"}),
    ("another client is another", {"a": grant("A")}, {"a": grant("A", client="OTHER")}, {}),
    ("another region is another", {"a": grant("A")}, {"a": grant("A", token_url=URL("/elsewhere"))}, {}),
    ("a key is no grant", {"a": grant("A")}, {"a": key("A")}, {}),
    ("a grant that is to be kept elsewhere", {"a": grant(store=REDIS)}, {"a": grant("A", store=SECRET)}, {"a": "a"}),
    ("and not another client's", {"a": grant(store=REDIS)}, {"a": grant(client="OTHER", store=SECRET)}, {}),
    (
        "out of memory, each by its seed",
        {"a": grant("A"), "b": grant("B")},
        {"a": grant("B", store=FileStore(Path("a"))), "c": grant("A", store=FileStore(Path("c")))},
        {"a": "b", "c": "a"},
    ),
    (
        "out of a file by its name alone",
        {"a": grant("A", store=FileStore(Path("a"))), "b": grant("A", store=FileStore(Path("b")))},
        {"b": grant("A", store=FileStore(Path("c"))), "c": grant("A", store=FileStore(Path("d")))},
        {"b": "b"},
    ),
    ("a file has the grant", {"a": grant("A", store=FileStore())}, {"b": grant("B", store=FileStore())}, {"b": "a"}),
    (
        "the way to a Redis is a setting",
        {"a": grant(store=REDIS)},
        {"b": grant(store=RedisStore(url=env("URL"), cluster=True))},
        {"b": "a"},
    ),
    (
        "the way to a Secret is a setting",
        {"a": grant(store=SECRET)},
        {"b": grant(store=KubernetesStore(secret="grant", lease="another"))},
        {"b": "a"},
    ),
]


@pytest.mark.parametrize(("earlier", "later", "found"), [each[1:] for each in SAID], ids=[each[0] for each in SAID])
def test_it_is_known_again_by_whose_it_is(
    earlier: dict[str, Credential], later: dict[str, Credential], found: dict[str, str]
) -> None:
    assert successors(earlier, later) == found


def test_two_never_go_on_as_one_however_alike_they_are() -> None:
    """No configuration is taken in which two are as alike as these; and if one were, each would keep what it has."""
    alike = {name: grant("SEED", store=FileStore()) for name in ("a", "b", "c")}
    for names in permutations(alike):
        assert successors(alike, {name: alike[name] for name in names}) == {name: name for name in names}
    fewer = successors(alike, {"c": alike["c"], "d": alike["b"], "e": alike["a"], "f": alike["a"]})
    assert len(fewer) == 3
    assert fewer["c"] == "c"
    assert len(set(fewer.values())) == 3


LOST: list[tuple[str, dict[str, Credential], dict[str, Credential], list[tuple[str, str]]]] = [
    ("not a key", {"a": key("A")}, {"a": key("B")}, []),
    ("not what goes on", {"a": grant("A")}, {"a": grant("A", wait=1.0)}, []),
    ("not what is in a file", {"a": grant("A", store=FileStore())}, {"a": grant("A", client="OTHER")}, []),
    ("not what a person takes out", {"a": grant("A")}, {"b": grant("B")}, []),
    ("not what goes on by another name", {"a": grant("A")}, {"a": grant("B", client="OTHER"), "b": grant("A")}, []),
    ("what is in memory alone", {"a": grant("A")}, {"a": grant("A", client="OTHER")}, [("a", "a.oauth2.client_id")]),
    ("not between what replicas share", {"a": grant(store=REDIS)}, {"a": grant(store=SECRET)}, []),
    ("nor to it", {"a": grant()}, {"a": grant(store=SECRET)}, []),
    ("but from it", {"a": grant(store=SECRET)}, {"a": grant()}, [("a", "a.oauth2.store")]),
]


@pytest.mark.parametrize(("earlier", "later", "lost"), [each[1:] for each in LOST], ids=[each[0] for each in LOST])
def test_it_tells_what_would_be_lost(
    earlier: dict[str, Credential], later: dict[str, Credential], lost: list[tuple[str, str]]
) -> None:
    found = successors(earlier, later)
    told = [(name, key.removeprefix("credentials.")) for name, key, _ in losses(earlier, later, found)]
    assert told == lost


A = FileStore(Path("a"))
B = FileStore(Path("b"))
LEFT: list[tuple[str, dict[str, Credential], dict[str, Credential], list[tuple[str, str]]]] = [
    ("renamed and moved", {"a": grant("A", store=A)}, {"b": grant("A", store=B)}, [("a", "b")]),
    (
        "and its name given to a key",
        {"a": grant("A", store=A)},
        {"a": key("K"), "b": grant("A", store=B)},
        [("a", "b")],
    ),
    ("and into memory", {"a": grant("A", store=A)}, {"b": grant("A")}, [("a", "b")]),
    ("not where it may be kept already", {"a": grant("A", store=A)}, {"b": grant("A", store=REDIS)}, []),
    ("not what replicas share", {"a": grant("A", store=REDIS)}, {"b": grant("A", store=A)}, []),
    ("not what goes on", {"a": grant("A", store=A)}, {"a": grant("A", store=B)}, []),
    ("nor by another name", {"a": grant("A", store=A)}, {"b": grant("A", store=A)}, []),
    ("not what is there still", {"a": grant("A", store=A)}, {"a": grant("A", store=A), "b": grant("A", store=B)}, []),
    ("not as one that was there", {"a": grant("A", store=A), "b": key("B")}, {"b": grant("A", store=B)}, []),
    ("not another's", {"a": grant("A", store=A)}, {"b": grant("B", store=B)}, []),
    ("not another client's", {"a": grant("A", store=A)}, {"b": grant("A", client="OTHER", store=B)}, []),
    ("not what a login begins", {"a": grant(store=A)}, {"b": grant(store=B)}, []),
    ("not a key", {"a": key("A")}, {"b": grant("A")}, []),
    ("nor for one", {"a": grant("A", store=A)}, {"b": key("A")}, []),
]


@pytest.mark.parametrize(("earlier", "later", "left"), [each[1:] for each in LEFT], ids=[each[0] for each in LEFT])
def test_it_tells_what_would_stay_behind(
    earlier: dict[str, Credential], later: dict[str, Credential], left: list[tuple[str, str]]
) -> None:
    told = left_behind(earlier, later, successors(earlier, later))
    assert [(former, name) for former, name, _ in told] == left
