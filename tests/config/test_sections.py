"""The shipped config.yaml is the reference: what it says is what the structs say."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import get_args, get_origin

import msgspec
import yaml

from proxy.config import Client, Config, KubernetesStore, OAuth2Credential, Policy, RedisStore, Tls, load
from proxy.config.nodes import NAMED
from proxy.config.sections import NotAKey, Section
from proxy.policy.profiles import profiles
from tools.reference import uncommented

SHIPPED = Path(__file__).parents[2] / "config.yaml"
KEY = {"PANDADOC_API_KEY": "k"}
GRANT = {"PANDADOC_CLIENT_ID": "i", "PANDADOC_CLIENT_SECRET": "s", "PANDADOC_REFRESH_TOKEN": "r"}


def test_the_shipped_file_says_the_defaults() -> None:
    shipped = load(SHIPPED, environ=KEY)
    assert msgspec.structs.replace(shipped, source=None, keyed=False) == load(environ=KEY, search=())


def test_the_shipped_file_works_with_a_grant_from_the_environment() -> None:
    assert isinstance(load(SHIPPED, environ=GRANT).credentials["default"], OAuth2Credential)


def test_the_shipped_file_starts_without_warnings() -> None:
    assert load(SHIPPED, environ=KEY).warnings == ()


def test_what_the_shipped_file_shows_of_credentials_is_right(
    loaded: Callable[[str, Mapping[str, str]], Config],
) -> None:
    """Without its comment signs the credentials section loads, and its values are the defaults too."""
    before, key, after = SHIPPED.read_text(encoding="utf-8").partition("# credentials:")
    credentials = loaded(before + uncommented(key + after), KEY | GRANT | {"REDIS_URL": "redis://h"}).credentials
    shown = credentials["acme"]
    assert isinstance(shown, OAuth2Credential)
    made = loaded("", GRANT).credentials["default"]
    assert isinstance(made, OAuth2Credential)
    assert msgspec.structs.replace(shown, client_secret=made.client_secret) == made
    redis, kubernetes = (getattr(credentials[name], "store", None) for name in ("replicated", "deployed"))
    assert isinstance(redis, RedisStore)
    assert redis == RedisStore(url=redis.url)
    assert kubernetes == KubernetesStore(secret="pandadoc-grant")


def test_what_the_shipped_file_shows_of_clients_is_right(loaded: Callable[[str, Mapping[str, str]], Config]) -> None:
    """Where its comment signs are taken away and the empty `clients` with them, the values are the defaults."""
    before, key, rest = SHIPPED.read_text(encoding="utf-8").partition("    # clients:")
    block, end, after = rest.partition("\n\n")
    text = re.sub(r"    clients: \{\}.*\n", "", before) + uncommented(key + block) + end + after
    shown = loaded(text, KEY).listeners[0].clients["billing"]
    assert shown == Client(key=shown.key)


def test_what_the_shipped_file_shows_of_tls_has_every_key_and_the_defaults() -> None:
    shown = yaml.safe_load(uncommented(re.search(r"(?m)^    # tls:\n(?:    #   .*\n)+", SHIPPED.read_text())[0]))["tls"]  # type: ignore[index]
    keys = msgspec.structs.fields(Tls)
    assert list(shown) == [key.name for key in keys]
    assert [shown[key.name] for key in keys if not key.required] == [key.default for key in keys if not key.required]


def test_every_profile_can_be_written() -> None:
    (of_names, _) = get_args(msgspec.structs.fields(Policy)[1].type)
    assert set(get_args(of_names)) == set(profiles())


def test_the_shipped_file_has_every_key() -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    missing = [key for section in Section.__subclasses__() for key in _keys(section) if f"{key}:" not in text]
    assert missing == []


def _keys(section: type[Section]) -> list[str]:
    fields = msgspec.structs.fields(section)
    return [field.name for field in fields if NotAKey() not in getattr(field.type, "__metadata__", ())]


def test_the_keys_below_which_names_stand_are_known_to_the_environment() -> None:
    """Else a name of digits alone would be a number in a list there."""
    fields = [field for section in Section.__subclasses__() for field in msgspec.structs.fields(section)]
    assert {field.name for field in fields if get_origin(field.type) is Mapping} == NAMED


def test_a_proxys_password_stays_out_of_the_repr() -> None:
    config = load(environ=KEY | {"HTTPS_PROXY": "http://user:password@p:1"}, search=())
    assert "password" not in repr(config)
    assert "http://***@p:1" in repr(config)
    assert config.upstream.proxy is not None
    assert config.upstream.proxy.url.password == "password"
