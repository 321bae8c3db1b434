import asyncio
import logging
import math
import threading
import time
from bisect import bisect_left
from decimal import Decimal

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from pushgate import ConfigurationError, Histogram, Unit, exponential_buckets, linear_buckets
from pushgate.instruments import histogram as module

PREFIX = "io.prometheus.metrics."


def make(name="h", **options):
    return Histogram(name, "x", **{"registry": None, "properties": False, **options})


def family_of(histogram):
    [family] = histogram.collect()
    return family


def test_it_registers_in_any_registry_and_every_text_writer_reads_it():
    registry = CollectorRegistry()
    histogram = make("sizes", unit=Unit.BYTES, buckets=[1, 2], labelnames=["l"], registry=registry)
    histogram.labels("v").observe(1.5)
    text = generate_latest(registry).decode()
    assert 'sizes_bytes_bucket{l="v",le="2"} 1.0' in text
    assert 'sizes_bytes_count{l="v"} 1.0' in text
    with pytest.raises(ValueError, match="Duplicated"):
        make("sizes_bytes", registry=registry)


def test_a_restricted_registry_keeps_the_native_part():
    registry = CollectorRegistry()
    make(registry=registry).observe(1)
    [family] = registry.restricted_registry(["h_count"]).collect()
    assert [sample.name for sample in family.samples] == ["h_count"]
    assert family.native


def test_count_and_sum():
    histogram = make()
    for value in (1, -2.5, math.nan):
        histogram.observe(value)
    assert (histogram.count, histogram.sum) == (2, -1.5)


def test_threads_lose_nothing():
    histogram = make()

    def observe():
        for value in range(1000):
            histogram.observe(value)

    threads = [threading.Thread(target=observe) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert histogram.count == 4000
    assert family_of(histogram).native[0][1].count_value == 4000


@pytest.mark.timeout(20)
def test_a_thread_may_observe_while_it_observes(monkeypatch):
    """As a signal handler does that comes in between."""
    histogram = Histogram("sizes", "", registry=None, properties=False)

    def interrupted(bounds, value):
        if histogram.count == 1:
            histogram.observe(1)
        return bisect_left(bounds, value)

    monkeypatch.setattr(module, "bisect_left", interrupted)
    histogram.observe(3)
    assert histogram.count == 2


def test_labels_by_name_and_position_are_the_same_part():
    histogram = make(labelnames=["a", "b"])
    histogram.labels("1", 2).observe(1)
    histogram.labels(b=2, a=1).observe(1)
    assert histogram.labels("1", "2").count == 2
    histogram.remove("1", "2")
    assert family_of(histogram).samples == []
    for wrong in [("1",), ("1", "2", "3"), ()]:
        with pytest.raises(ValueError, match="expected"):
            histogram.labels(*wrong)
    with pytest.raises(ValueError, match="expected"):
        histogram.labels(a=1)
    with pytest.raises(ValueError, match="has labels"):
        histogram.observe(1)


def test_clear_forgets_everything():
    histogram = make()
    histogram.observe(1)
    histogram.clear()
    assert histogram.count == 0


def test_time_measures_blocks_functions_and_coroutines():
    histogram = make()
    with histogram.time():
        pass

    @histogram.time()
    def function():
        return 1

    @histogram.time()
    async def coroutine():
        await asyncio.sleep(0.05)
        return 2

    assert function() == 1
    assert asyncio.run(coroutine()) == 2
    assert histogram.count == 3
    assert histogram.sum >= 0.05


def test_bounds_are_sorted_and_end_with_infinity():
    bounds = [
        s.labels["le"] for s in family_of(make(buckets=[2, 1, 2])).samples if "le" in s.labels
    ]
    assert bounds == ["1", "2", "+Inf"]
    with pytest.raises(ConfigurationError, match="not a number"):
        make(buckets=[math.nan])


@pytest.mark.parametrize(
    ("options", "properties", "mode"),
    [
        ({}, {}, "both"),
        ({"classic": False}, {}, "native"),
        ({"native": False}, {}, "classic"),
        ({"native": True}, {}, "both"),
        ({}, {"histogram_native_only": "true"}, "native"),
        ({}, {"histogram_native_only": "false"}, "classic"),
        ({}, {"histogram_classic_only": "false"}, "native"),
        ({"native": False}, {"histogram_native_only": "true"}, "classic"),
        ({"native": False}, {"h.histogram_native_only": "true"}, "native"),
        ({}, {"histogram_native_only": "true", "h.histogram_native_only": "false"}, "classic"),
        ({"buckets": [1]}, {"histogram_native_only": "true"}, "native"),
        ({"schema": 3}, {"histogram_classic_only": "true"}, "classic"),
    ],
)
def test_the_mode_is_resolved_once_and_never_empty(options, properties, mode):
    histogram = make(
        properties={PREFIX + key: value for key, value in properties.items()}, **options
    )
    histogram.observe(1)
    family = family_of(histogram)
    assert (bool(family.native), family.native_only) == (mode != "classic", mode == "native")


def test_neither_form_is_refused():
    with pytest.raises(ConfigurationError, match="classic or native"):
        make(classic=False, native=False)


def test_properties_of_the_metric_win_over_code_and_code_over_the_rest():
    properties = {
        f"{PREFIX}latency.seconds.histogram_native_initial_schema": "2",
        f"{PREFIX}histogram_native_initial_schema": "7",
        f"{PREFIX}histogram_native_max_number_of_buckets": "9",
        f"{PREFIX}histogram_classic_upper_bounds": "1,2",
    }
    histogram = make("latency", unit="seconds", schema=4, max_buckets=5, properties=properties)
    settings = histogram._settings
    assert (settings.schema, settings.max_buckets) == (2, 5)
    assert settings.bounds == (1, 2, math.inf)


@pytest.mark.parametrize("name", ["myLatency_seconds", "mylatency.seconds", "MYLATENCY_SECONDS"])
def test_names_with_capitals_and_dots_can_be_addressed(name):
    properties = {f"{PREFIX}{name}.histogram_native_initial_schema": "2"}
    assert make(name, properties=properties)._settings.schema == 2


def test_exemplars():
    histogram = make(buckets=[1])
    histogram.observe(0.5, exemplar={"trace_id": "a"})
    histogram.observe(0.6, exemplar={"trace_id": "b"})
    [first, *_] = family_of(histogram).samples
    assert first.exemplar.labels == {"trace_id": "b"}
    with pytest.raises(ValueError, match="more than 128"):
        histogram.observe(1, exemplar={"trace_id": "x" * 121})
    silent = make(exemplars=False, properties={f"{PREFIX}h.exemplars_enabled": "true"})
    silent.observe(0.5, exemplar={"trace_id": "a"})
    assert family_of(silent).samples[0].exemplar is None


def test_what_lost_resolution_starts_anew_when_its_time_has_come(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    histogram = make(max_buckets=2, reset_after=60)
    for value in (1, 10, 100, 1000):
        histogram.observe(value)
    assert family_of(histogram).native[0][1].schema < 5
    now[0] += 61
    histogram.observe(7)
    [(_, native)] = family_of(histogram).native
    assert (native.schema, native.count_value, histogram.count) == (5, 1, 1)


def test_a_full_histogram_whose_time_has_come_keeps_the_newest_value(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    histogram = make(max_buckets=2, reset_after=60)
    histogram.observe(1)
    histogram.observe(10)
    now[0] += 61
    histogram.observe(100)
    assert (histogram.count, histogram.sum) == (1, 100)


@pytest.mark.parametrize(
    "options",
    [
        {"schema": 9},
        {"schema": 1, "bucket_factor": 1.1},
        {"bucket_factor": 1},
        {"min_zero_threshold": 1, "max_zero_threshold": 0.5},
        {"min_zero_threshold": -1},
        {"max_buckets": -1},
    ],
)
def test_impossible_settings_are_refused(options):
    with pytest.raises(ConfigurationError):
        make(**options)


@pytest.mark.parametrize(
    ("options", "threshold"),
    [
        ({}, 2.0**-128),
        ({"max_zero_threshold": 0}, 0),
        ({"min_zero_threshold": 0.5}, 0.5),
        ({"max_zero_threshold": 0.5}, 2.0**-128),
    ],
)
def test_a_zero_threshold_given_alone_takes_the_other_along(options, threshold):
    histogram = make(**options)
    histogram.observe(1)
    [(_, native)] = family_of(histogram).native
    assert native.zero_threshold == threshold


@pytest.mark.parametrize("label", ["le", "__x", ""])
def test_reserved_label_names_are_refused(label):
    with pytest.raises(ValueError, match="reserved"):
        make(labelnames=[label])


def test_whatever_is_a_number_can_be_observed_and_nothing_else_leaves_a_trace():
    histogram = make()
    histogram.observe(Decimal("0.5"))
    with pytest.raises(ValueError, match="could not convert"):
        histogram.observe("half")
    assert (histogram.count, histogram.sum) == (1, 0.5)


def test_bucket_helpers_and_units():
    assert linear_buckets(0.1, 0.1, 3) == [0.1, 0.2, 0.3]
    assert exponential_buckets(1, 2, 4) == [1, 2, 4, 8]
    assert Unit.millis_to_seconds(1500) == 1.5
    assert Unit.nanos_to_seconds(5e8) == 0.5
    assert Unit.kilobytes_to_bytes(2) == 2048


def test_created_is_the_wall_clock():
    created = next(s for s in family_of(make()).samples if s.name == "h_created")
    assert abs(created.value - time.time()) < 60


def test_an_argument_that_a_property_overrides_is_logged_once(caplog):
    caplog.set_level(logging.INFO, "pushgate")
    for _ in range(2):
        Histogram(
            "overridden.sizes",
            "",
            schema=2,
            native=True,
            buckets=[1],
            registry=None,
            properties={
                f"{PREFIX}overridden_sizes.histogram_native_initial_schema": "3",
                f"{PREFIX}overridden_sizes.histogram_classic_only": "true",
                f"{PREFIX}histogram_classic_upper_bounds": "1,2",
            },
        )
    assert [record.message for record in caplog.records] == [
        "overridden.sizes: classic= or native= is overridden by the properties given by code",
        "overridden.sizes: schema= is overridden by the properties given by code",
    ]
