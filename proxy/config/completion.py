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
    """Fill in the proxy of the upstream and every credential's token URL."""
    return replace(
        config,
        upstream=_with_proxy(config.upstream, environ, faults),
        credentials=MappingProxyType(
            {name: _with_token_url(item, config.upstream.url) for name, item in config.credentials.items()}
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


def _with_token_url(item: Credential, upstream: URL) -> Credential:
    if isinstance(item, OAuth2Credential) and not item.token_url.absolute:
        return replace(item, token_url=upstream.joinpath(item.token_url.raw_path.lstrip("/"), encoded=True))
    return item
