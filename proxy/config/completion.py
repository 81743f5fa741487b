"""Defaults that depend on other values become values, so that nothing is left to look up. Pure."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from msgspec.structs import replace

from proxy.config.addresses import proxy_url
from proxy.config.environment import https_proxy
from proxy.config.nodes import Place
from proxy.config.sections import OAuth2Credential

if TYPE_CHECKING:
    from collections.abc import Mapping

    from yarl import URL

    from proxy.config.faults import Findings
    from proxy.config.sections import Config, Credential, Upstream


def completed(config: Config, environ: Mapping[str, str], faults: Findings) -> Config:
    """Fill in the proxy of the upstream, and every credential's token and authorize URLs."""
    return replace(
        config,
        upstream=_with_proxy(config.upstream, environ, faults),
        credentials=MappingProxyType(
            {name: _with_urls(item, config.upstream.url) for name, item in config.credentials.items()}
        ),
    )


def _with_proxy(upstream: Upstream, environ: Mapping[str, str], faults: Findings) -> Upstream:
    name = https_proxy(upstream.url, environ)
    if upstream.proxy is not None or name is None:
        return upstream
    try:
        return replace(upstream, proxy=proxy_url(environ[name].strip()))
    except ValueError as error:
        faults.add(Place(name), "upstream.proxy", str(error))
        return upstream


def _with_urls(item: Credential, upstream: URL) -> Credential:
    if not isinstance(item, OAuth2Credential):
        return item
    token, authorize = item.token_url, item.authorize_url
    if not token.absolute:
        token = upstream.joinpath(token.raw_path.lstrip("/"), encoded=True)
    if not authorize.absolute:
        authorize = _consent_origin(token).join(authorize)
    return replace(item, token_url=token, authorize_url=authorize)


def _consent_origin(token_url: URL) -> URL:
    """Tell where people consent: PandaDoc's app stands beside its API, in each of its regions."""
    origin, host = token_url.origin(), token_url.host or ""
    return origin.with_host(f"app.{host.removeprefix('api.')}") if host.startswith("api.") else origin
