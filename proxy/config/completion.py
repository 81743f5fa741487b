"""Defaults that depend on other values become values, so that nothing is left to look up. Pure."""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from msgspec.structs import replace

from proxy.config.addresses import http_proxy, may_be_proxied
from proxy.config.environment import https_proxy
from proxy.config.nodes import Place
from proxy.config.sections import OAuth2Credential

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from yarl import URL

    from proxy.config.addresses import HttpProxy
    from proxy.config.faults import Findings
    from proxy.config.sections import Config, Credential


def completed(config: Config, environ: Mapping[str, str], faults: Findings) -> Config:
    """Fill in every credential's token and authorize URLs, and the proxy of each URL that we ask."""
    upstream = config.upstream
    way = partial(_way, upstream.proxy, environ, faults)
    credentials = {name: _with_urls(item, upstream.url, way) for name, item in config.credentials.items()}
    proxy = way(upstream.url)
    if proxy is None and not any(isinstance(item, OAuth2Credential) and item.proxy for item in credentials.values()):
        proxy = upstream.proxy  # nobody uses it: the rules refuse it where it stands
    return replace(config, upstream=replace(upstream, proxy=proxy), credentials=MappingProxyType(credentials))


def _way(written: HttpProxy | None, environ: Mapping[str, str], faults: Findings, url: URL) -> HttpProxy | None:
    """Decide for one URL: a proxy that is written holds for all that may be proxied, the environment says for which."""
    if not may_be_proxied(url):
        return None
    if written is not None:
        return written
    name = https_proxy(url, environ)
    if name is None or faults.covers("upstream.proxy"):
        return None
    try:
        return replace(http_proxy(environ[name].strip()), variable=name)
    except ValueError as error:
        faults.add(Place(name), "upstream.proxy", str(error))
        return None


def _with_urls(item: Credential, upstream: URL, way: Callable[[URL], HttpProxy | None]) -> Credential:
    if not isinstance(item, OAuth2Credential):
        return item
    token, authorize = item.token_url, item.authorize_url
    if not token.absolute:
        token = upstream.joinpath(token.raw_path.lstrip("/"), encoded=True)
    if not authorize.absolute:
        authorize = _consent_origin(token).join(authorize)
    return replace(item, token_url=token, authorize_url=authorize, proxy=way(token))


def _consent_origin(token_url: URL) -> URL:
    """Tell where people consent: PandaDoc's app stands beside its API, in each of its regions."""
    origin, host = token_url.origin(), token_url.host or ""
    return origin.with_host(f"app.{host.removeprefix('api.')}") if host.startswith("api.") else origin
