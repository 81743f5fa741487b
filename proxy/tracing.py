"""Whether there is tracing: where the standard variables ask for it and the extra `otel` is installed.

Never here: OpenTelemetry itself. spans.py alone loads it, and is loaded only when asked for; without, a request pays
for one look at an attribute.
"""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from proxy.spans import Spans

log = logging.getLogger(__name__)

PROTOCOL: Final = "http/protobuf"
"""The one that we speak, and what the specification asks for where nothing is said."""

RATIOS: Final = frozenset({"traceidratio", "parentbased_traceidratio"})
SAMPLERS: Final = RATIOS | {"always_on", "always_off", "parentbased_always_on", "parentbased_always_off"}

MOST: Final = 2**31
"""What a variable that is a number may say. Beyond, the SDK ends in an OverflowError: at the start, in its thread, in
each request."""

NOT_INSTALLED: Final = (
    "no traces: the environment asks for them, and OpenTelemetry is not installed (%s)."
    " Run pip install '.[otel]' in the checkout, or build the image with --build-arg REQUIREMENTS=otel;"
    " OTEL_SDK_DISABLED=true asks for none"
)


def begin(environ: Mapping[str, str]) -> "Spans | None":
    """Return what makes spans, if it is asked for. What is in the way of it is said, once; the proxy serves without."""
    try:
        if not asked(environ):
            return None
        from proxy.spans import Spans  # noqa: PLC0415 - an extra, and 10 MiB

        return Spans()
    except ImportError as fault:
        log.warning(NOT_INSTALLED, fault)
    except (ValueError, RuntimeError) as fault:  # ours, and what the SDK says of variables that it can't use
        log.warning("no traces: %s", fault)
    return None


def asked(environ: Mapping[str, str]) -> bool:
    """Tell whether the variables ask for spans over OTLP. Raises ValueError for what we can't do.

    OpenTelemetry's specification: "Environment Variables" and "OTLP Exporter". An empty variable is one not set.
    """
    exporters = {word.strip() for word in environ.get("OTEL_TRACES_EXPORTER", "").split(",")} - {""}
    endpoint = _first(environ, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    if _first(environ, "OTEL_SDK_DISABLED").lower() == "true" or "none" in exporters or not (exporters or endpoint):
        return False
    if exporters and "otlp" not in exporters:
        raise ValueError("OTEL_TRACES_EXPORTER may be otlp or none here")
    if _first(environ, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL") not in {"", PROTOCOL}:
        raise ValueError(
            f"OTEL_EXPORTER_OTLP_PROTOCOL may be {PROTOCOL} alone here: set OTEL_EXPORTER_OTLP_TRACES_PROTOCOL to that,"
            " and OTEL_EXPORTER_OTLP_TRACES_ENDPOINT to the collector's HTTP port, as in http://collector:4318/v1/traces"
        )
    if endpoint and not _is_http(endpoint):
        raise ValueError(
            "OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_TRACES_ENDPOINT begin with http:// or https:// and name"
            " the collector, as in http://collector:4318"
        )
    _refuse_odd_sampler(environ)
    _refuse_odd_numbers(environ)
    return True


def _is_http(endpoint: str) -> bool:
    """Tell whether it is an address that the SDK's exporter can post to; it finds that out at every batch."""
    try:
        url = urlsplit(endpoint)
        return url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        return False


def _refuse_odd_sampler(environ: Mapping[str, str]) -> None:
    """Raise ValueError for what the SDK would take for "all of them"."""
    sampler = environ.get("OTEL_TRACES_SAMPLER", "").lower()
    if sampler not in SAMPLERS | {""}:
        raise ValueError(f"OTEL_TRACES_SAMPLER may be one of: {', '.join(sorted(SAMPLERS))}")
    if sampler in RATIOS and not _is_ratio(environ.get("OTEL_TRACES_SAMPLER_ARG") or "1"):
        raise ValueError("OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1")


def _refuse_odd_numbers(environ: Mapping[str, str]) -> None:
    """Raise ValueError for what the SDK can't count to. What is no number it leaves, and takes its own."""
    for name, text in environ.items():
        counts = name.startswith("OTEL_BSP_") or (name.startswith("OTEL_") and name.endswith(("_LIMIT", "_TIMEOUT")))
        if counts and not _number(text) <= MOST:  # nor nan
            raise ValueError(f"{name} must be a number up to {MOST}")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0


def _is_ratio(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False


def _first(environ: Mapping[str, str], *names: str) -> str:
    """Return the first of these variables that is set."""
    return next((value for name in names if (value := environ.get(name, "").strip())), "")
