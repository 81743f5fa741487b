"""Engines are refused at the start where they can't be had, and loaded only where they are configured."""

import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from proxy.clock import SystemClock
from proxy.compose_credentials import CredentialParts
from proxy.compose_engine import engine, unusable_engines
from proxy.config import BadConfig, Config, KubernetesStore, OAuth2Credential, RedisStore, load
from proxy.credential.redis_engine import RedisEngine
from proxy.credential.shared_store import SharedStore
from proxy.secret_reader import SecretReader
from proxy.tasks import Tasks

ENVIRON = {"ID": "one-client", "SECRET": "its-secret", "REDIS_URL": "redis://:tr0ub4dor@cache"}


def configured(folder: Path, *stores: str, url: str = ENVIRON["REDIS_URL"]) -> Config:
    lines = ["credentials:"]
    for number, store in enumerate(stores):
        oauth2 = f"client_id: {{env: ID}}, client_secret: {{env: SECRET}}, store: {store}"
        lines.append(f"  {'default' if number == 0 else f'c{number}'}: {{oauth2: {{{oauth2}}}}}")
    (folder / "config.yaml").write_text("\n".join(lines))
    return load(folder / "config.yaml", environ=ENVIRON | {"REDIS_URL": url}, checks=[unusable_engines])


def test_a_store_whose_client_is_not_installed_is_told_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    shared, own = "{redis: {url: {env: REDIS_URL}}}", "{memory: true}"
    with pytest.raises(BadConfig) as bad:
        configured(tmp_path, own, shared, shared)
    assert [fault.path for fault in bad.value.faults] == [
        "credentials.c1.oauth2.store.redis",
        "credentials.c2.oauth2.store.redis",
    ]
    assert "pip install '.[redis]'" in bad.value.faults[0].message
    configured(tmp_path, own)


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ("", "http://:tr0ub4dor@cache"),
        ("", "redis://:tr0ub4dor@cache,other"),
        (", sentinel: main", "unix:///run/s"),
        (", cluster: true", "unix:///run/s"),
        (", cluster: true", "redis://:tr0ub4dor@cache/7"),
    ],
)
def test_a_url_that_cant_be_used_is_a_fault_of_the_configuration_and_is_not_shown(
    tmp_path: Path, options: str, url: str
) -> None:
    with pytest.raises(BadConfig, match=r"yaml:2: credentials\.default\.oauth2\.store\.redis\.url: ") as bad:
        configured(tmp_path, f"{{redis: {{url: {{env: REDIS_URL}}{options}}}}}", url=url)
    assert "tr0ub4dor" not in str(bad.value)
    assert "unix:///run/s" not in str(bad.value)


def test_the_redis_of_a_rate_budget_is_looked_at_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, environ = tmp_path / "config.yaml", {"PANDADOC_API_KEY": "k"}
    path.write_text("rate_budget:\n  numbers: auto\n  redis: {url: 'http://cache'}\n")
    with pytest.raises(BadConfig, match=r"yaml:3: rate_budget\.redis\.url: "):
        load(path, environ=environ, checks=[unusable_engines])
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(BadConfig, match=r"yaml:3: rate_budget\.redis: redis-py is not installed"):
        load(path, environ=environ, checks=[unusable_engines])


@pytest.mark.parametrize("url", ["redis://cache", "unix:///run/s"])
def test_an_authority_that_nobody_would_ask_is_a_fault(tmp_path: Path, url: str) -> None:
    """Whoever names one believes that TLS is spoken (law 18)."""
    with pytest.raises(BadConfig, match=r"yaml:2: credentials\.default\.oauth2\.store\.redis\.ca_file: is for TLS"):
        configured(tmp_path, "{redis: {url: {env: REDIS_URL}, ca_file: ./ca.pem}}", url=url)
    configured(tmp_path, "{redis: {url: {env: REDIS_URL}, ca_file: ./ca.pem}}", url="rediss://cache")
    budget = tmp_path / "config.yaml"
    budget.write_text(f"rate_budget:\n  numbers: auto\n  redis: {{url: '{url}', ca_file: ./ca.pem}}\n")
    with pytest.raises(BadConfig, match=r"yaml:3: rate_budget\.redis\.ca_file: is for TLS"):
        load(budget, environ={"PANDADOC_API_KEY": "k"}, checks=[unusable_engines])


def test_a_url_that_a_variable_has_is_told_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("rate_budget: {numbers: auto, redis: {url: 'redis://cache'}}\n")
    name = "PANDADOC_PROXY__RATE_BUDGET__REDIS__URL"
    environ = {"PANDADOC_API_KEY": "k", name: "http://cache"}
    with pytest.raises(BadConfig, match=rf"^{name}: rate_budget\.redis\.url: "):
        load(tmp_path / "config.yaml", environ=environ, checks=[unusable_engines])


def test_a_url_is_not_judged_before_it_is_known_what_it_is_for(tmp_path: Path) -> None:
    with pytest.raises(BadConfig) as bad:
        configured(tmp_path, "{redis: {url: 'redis://one,other', sentinel: 5}}")
    assert [fault.path for fault in bad.value.faults] == ["credentials.default.oauth2.store.redis.sentinel"]


def test_a_url_that_is_not_there_yet_keeps_nobody_from_starting(tmp_path: Path) -> None:
    configured(tmp_path, "{redis: {url: {file: ./arrives-later}}}")


async def test_what_is_configured_reaches_the_engine(tmp_path: Path) -> None:
    config = configured(tmp_path, "{redis: {url: {env: REDIS_URL}, prefix: staging, sentinel: main}}")
    credential = config.credentials["default"]
    assert isinstance(credential, OAuth2Credential)
    assert isinstance(credential.store, RedisStore)

    async def owner() -> str:
        return "0123456789abcdef"

    made = engine(credential.store, owner, SecretReader())
    assert repr(made) == "<RedisEngine Redis prefix staging>"
    await made.close()


async def test_what_is_configured_for_kubernetes_reaches_its_engine(tmp_path: Path) -> None:
    """Nothing is asked yet, so a namespace that only the cluster knows is not known."""
    for more, name in (("", "grant"), (", namespace: shop, lease: other", "shop/grant")):
        credential = configured(tmp_path, f"{{kubernetes: {{secret: grant{more}}}}}").credentials["default"]
        assert isinstance(credential, OAuth2Credential)
        assert isinstance(credential.store, KubernetesStore)

        async def owner() -> str:
            return "0123456789abcdef"

        made = engine(credential.store, owner, SecretReader())
        assert made.name == f"the Kubernetes Secret {name}"
        await made.close()


async def test_only_a_grant_that_is_not_shared_goes_by_one_clock(tmp_path: Path) -> None:
    config = configured(tmp_path, "{memory: true}", "{file: ./grant.json}", "{redis: {url: {env: REDIS_URL}}}")
    async with aiohttp.ClientSession() as session:
        parts = CredentialParts(config, tmp_path, SystemClock(), Tasks(), session)
        each = [one for one in config.credentials.values() if isinstance(one, OAuth2Credential)]
        assert [parts.policy(one, by_hand=False).one_clock for one in each] == [True, True, False]


async def test_a_store_and_its_engine_are_one_clients_though_its_id_is_corrected(tmp_path: Path) -> None:
    """Else the pair would lie under the keys of one, and be read as the other's."""
    (tmp_path / "id").write_text("mistyped")
    (tmp_path / "config.yaml").write_text(
        "credentials: {default: {oauth2: {client_id: {file: ./id}, client_secret: {env: SECRET},"
        " store: {redis: {url: {env: REDIS_URL}}}}}}"
    )
    config = load(tmp_path / "config.yaml", environ=ENVIRON)
    credential = config.credentials["default"]
    assert isinstance(credential, OAuth2Credential)
    async with aiohttp.ClientSession() as session:
        parts = CredentialParts(config, tmp_path, SystemClock(), Tasks(), session)
        store = parts.store(credential)
        assert isinstance(store, SharedStore)
        whose = await store.owner()
        (tmp_path / "id").write_text("corrected")
        made = store._engine  # noqa: SLF001 - it shows its keys to Redis alone
        assert isinstance(made, RedisEngine)
        assert await made._key("grant") == f"pandadoc-proxy:{{{whose}}}:grant"  # noqa: SLF001 - the same
        await store.close()


def test_redis_py_is_loaded_only_where_it_is_configured() -> None:
    """It is 10 MiB, and most proxies have a file."""
    program = "import sys, proxy.app, proxy.cli, proxy.compose_credentials; sys.exit('redis' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], check=False, timeout=60)  # noqa: S603 - our own
    assert ran.returncode == 0
