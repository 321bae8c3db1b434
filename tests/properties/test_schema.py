"""The values of properties, read as client_java reads them."""

import json
from pathlib import Path

import pytest

from pushgate import ConfigurationError
from pushgate.properties import load

VECTORS = json.loads((Path(__file__).parent.parent / "data/client_java_vectors.json").read_text())


# Where we are lenient (blanks around words) or strict (no bound is "not a number").
OURS = {"true ": None, "1,NaN": "Expecting comma separated list of double values"}


# Settings that a push does not use are not looked at.
UNUSED = (
    "http_server",
    "opentelemetry",
    "openmetrics2",
    "summary_",
    "exporter.include_",
    "exemplars_on",
)


@pytest.mark.parametrize("vector", VECTORS["validation"], ids=lambda v: str(v["properties"])[:70])
def test_values_are_checked_as_in_client_java(vector):
    [(key, value), *_] = vector["properties"].items()
    error = vector["error"] and vector["error"].removeprefix("PrometheusPropertiesException: ")
    if any(unused in key for unused in UNUSED for key in vector["properties"]):
        error = None
    elif value in OURS:
        error = OURS[value] and f"{key}: {OURS[value]}"
    if error is None:
        load(vector["properties"], env={})
    else:
        with pytest.raises(ConfigurationError) as caught:
            load(vector["properties"], env={})
        assert str(caught.value) == error


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("metrics.histogram_native_initial_schema", "99999999999", "Expecting integer value"),
        (
            "metrics.histogram_native_min_zero_threshold",
            "-1e-5",
            "Expecting value >= 0. Found: -1e-05",
        ),
        ("metrics.histogram_native_min_zero_threshold", "-123456789", "Found: -123456789.0"),
        ("metrics.histogram_native_min_zero_threshold", "1_0", "Expecting double value"),
        (
            "metrics.x.histogram_native_reset_duration_seconds",
            "-1",
            "Expecting value >= 0. Found: -1",
        ),
        ("metrics.histogram_native_only", "yes", "Expecting 'true' or 'false'."),
        ("exporter.pushgateway.connect_timeout_seconds", "-5", "Expecting value >= 0. Found: -5"),
    ],
)
def test_more_messages(key, value, message):
    with pytest.raises(ConfigurationError) as caught:
        load({f"io.prometheus.{key}": value}, env={})
    assert str(caught.value).startswith(f"io.prometheus.{key}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"), [("0x1p3", 8.0), ("1d", 1.0), (" 2e-1 ", 0.2), (".5", 0.5)]
)
def test_numbers_are_written_as_in_java(text, value):
    loaded = load({"io.prometheus.metrics.histogram_native_min_zero_threshold": text}, env={})
    assert loaded.metrics.histogram_native_min_zero_threshold == value


@pytest.mark.parametrize(
    "setting",
    [
        "exporter.opentelemetry.interval_seconds",
        "exporter.opentelemetry.protocol",
        "exporter.http_server.port",
        "exporter.prometheus_timestamps_in_ms",
        "openmetrics2.enabled",
        "metrics.summary_quantiles",
        "metrics.latency_seconds.summary_max_age_seconds",
    ],
)
def test_settings_that_a_push_does_not_use_are_accepted_whatever_they_say(setting):
    load({f"io.prometheus.{setting}": "anything"}, env={})
    variable = f"io.prometheus.{setting}".replace(".", "_").upper()
    load(env={variable: "anything"})


def test_lists():
    loaded = load({"io.prometheus.metrics.histogram_classic_upper_bounds": "1 , 2,+Inf,,"}, env={})
    assert loaded.metrics.histogram_classic_upper_bounds == (1, 2, float("inf"))


@pytest.mark.parametrize(
    ("setting", "passes"),
    [
        ("must_be_equal_to", ["rows", "sizes"]),
        ("must_not_be_equal_to", ["ro", "rows_read"]),
        ("must_start_with", ["rows_read"]),
        ("must_not_start_with", ["rows", "sizes", "ro"]),
    ],
)
def test_a_filter_takes_names_of_samples_for_those_of_their_metrics(setting, passes):
    key = f"io.prometheus.exporter.filter.metric_name_{setting}"
    listed = "rows_total,sizes_count" if "equal" in setting else "rows_"
    filters = load({key: listed}, env={}).filter
    names = ["rows", "sizes", "ro", "rows_read"]
    assert [name for name in names if filters.allows(name)] == passes
