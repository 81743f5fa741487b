"""Whether there is tracing: what the standard variables ask for, and what is said where that can't be had."""

import sys

import pytest

from proxy import tracing

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "app"}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": ""}, False),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "True"}, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "1"}, True),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_SDK_DISABLED": "true"}, False),
        (
            {**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"},
            True,
        ),
        ({**ENDPOINT, "OTEL_TRACES_SAMPLER": "Parentbased_TraceIdRatio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}, True),
        ({**ENDPOINT, "OTEL_TRACES_SAMPLER": "traceidratio"}, True),
        ({**ENDPOINT, "OTEL_BSP_MAX_QUEUE_SIZE": "4096", "OTEL_EXPORTER_OTLP_TIMEOUT": "2.5"}, True),
        ({**ENDPOINT, "OTEL_SERVICE_NAME": "9" * 20, "OTEL_BSP_SCHEDULE_DELAY": ""}, True),
        ({**ENDPOINT, "OTEL_TRACES_SAMPLER": "always_off", "OTEL_TRACES_SAMPLER_ARG": "no number"}, True),
    ],
)
def test_the_standard_variables_decide(environ: dict[str, str], *, wanted: bool) -> None:
    assert tracing.asked(environ) is wanted


@pytest.mark.parametrize(
    ("variables", "advice"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "set OTEL_EXPORTER_OTLP_TRACES_PROTOCOL to that"),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"}, "may be http/protobuf alone"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "begin with http:// or https://"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "grpc://collector:4317"}, "begin with http:// or https://"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://:4318"}, "begin with http:// or https://"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:port"}, "begin with http:// or https://"),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "may be otlp or none"),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "9" * 20}, "OTEL_BSP_MAX_QUEUE_SIZE must be a number up to 2147483648"),
        ({"OTEL_BSP_SCHEDULE_DELAY": "99999999999999"}, "OTEL_BSP_SCHEDULE_DELAY must be a number up to"),
        ({"OTEL_SPAN_EVENT_COUNT_LIMIT": "9" * 20}, "OTEL_SPAN_EVENT_COUNT_LIMIT must be a number up to"),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "inf"}, "OTEL_EXPORTER_OTLP_TIMEOUT must be a number up to"),
        ({"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "nan"}, "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT must be a number up to"),
        ({"OTEL_TRACES_SAMPLER": "xray"}, "may be one of: always_off, always_on, "),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "10%"}, "a number from 0 to 1"),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "10"}, "a number from 0 to 1"),
    ],
)
def test_what_we_can_not_do_is_said_once_with_what_to_do(
    variables: dict[str, str], advice: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A proxy that serves without traces is worth more than one that does not start for want of them."""
    assert tracing.begin({**ENDPOINT, **variables}) is None
    (line,) = caplog.messages
    assert line.startswith("no traces: ")
    assert advice in line


def test_where_nobody_asks_nothing_is_said_and_nothing_loaded(caplog: pytest.LogCaptureFixture) -> None:
    before = set(sys.modules)
    assert tracing.begin({}) is None
    assert caplog.messages == []
    assert set(sys.modules) == before
