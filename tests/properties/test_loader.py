import logging
import sys

import pytest

from pushgate import ConfigurationError
from pushgate.properties import default, load, reload, set_system_property
from pushgate.properties.loader import _system
from tests.named_pipes import pipe

PUSH = "io.prometheus.exporter.pushgateway."


def test_sources_from_the_strongest_to_the_weakest(tmp_path, monkeypatch):
    named, beside = tmp_path / "named.properties", tmp_path / "prometheus.properties"
    named.write_text(f"{PUSH}job=named\n{PUSH}address=named\n{PUSH}read_timeout_seconds=4\n")
    beside.write_text(
        f"{PUSH}job=beside\n{PUSH}address=beside\n{PUSH}connect_timeout_seconds=5\n"
        f"{PUSH}read_timeout_seconds=5\n"
    )
    monkeypatch.setattr(sys, "path", ["", str(tmp_path)])
    env = {"PROMETHEUS_CONFIG": str(named)}
    from_files = load(env=env).pushgateway
    assert (from_files.job, from_files.connect_timeout_seconds) == ("named", 5)
    system = {f"{PUSH}job": "system"}
    assert load(env=env, system=system).pushgateway.job == "system"
    env["IO_PROMETHEUS_EXPORTER_PUSHGATEWAY_JOB"] = "env"
    assert load(env=env, system=system).pushgateway.job == "env"
    external = {f"{PUSH}job": "external"}
    everything = load(external, env=env, system=system)
    assert everything.pushgateway.job == "external"
    assert everything.pushgateway.address == "named"
    assert everything.pushgateway.read_timeout_seconds == 4
    assert everything.origins[f"{PUSH}address"] == f"{named}:2"


def test_the_file_beside_the_program_can_be_switched_off(tmp_path, monkeypatch):
    (tmp_path / "prometheus.properties").write_text(f"{PUSH}job=beside")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert load(env={}).pushgateway.job == "beside"
    assert load(env={"PROMETHEUS_CONFIG": ""}).pushgateway.job is None


def test_a_file_may_be_a_pipe(tmp_path):
    with pipe(tmp_path / "properties", f"{PUSH}job=piped".encode()) as path:
        assert load(env={"PROMETHEUS_CONFIG": str(path)}).pushgateway.job == "piped"


def test_the_current_directory_is_not_searched(tmp_path, monkeypatch):
    (tmp_path / "prometheus.properties").write_text(f"{PUSH}job=here")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", "."])
    assert load(env={}).pushgateway.job is None


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        load(env={}, config_file=tmp_path / "gone")
    unreadable = "Failed to read Prometheus properties file: No such file or directory."
    assert str(caught.value) == unreadable
    assert caught.value.source == str(tmp_path / "gone")


@pytest.mark.parametrize(
    ("variables", "source"),
    [
        (("HISTOGRAM_NATIVE_ONLY=true", "HISTOGRAM_CLASSIC_ONLY=true"), "HISTOGRAM_NATIVE_ONLY"),
        (
            ("H_HISTOGRAM_NATIVE_MIN_ZERO_THRESHOLD=2", "H_HISTOGRAM_NATIVE_MAX_ZERO_THRESHOLD=1"),
            "H_HISTOGRAM_NATIVE_MIN_ZERO_THRESHOLD",
        ),
    ],
)
def test_a_contradiction_names_where_it_comes_from(variables, source):
    prefix = "IO_PROMETHEUS_METRICS_"
    pairs = [variable.partition("=") for variable in variables]
    with pytest.raises(ConfigurationError) as caught:
        load(env={f"{prefix}{name}": value for name, _, value in pairs})
    assert caught.value.source == f"${prefix}{source}"


def test_a_malformed_file(tmp_path):
    (tmp_path / "p").write_bytes(b"a=\\u00zz")
    with pytest.raises(ConfigurationError, match="Malformed"):
        load(env={}, config_file=tmp_path / "p")


def test_an_error_names_its_line_and_never_shows_the_value(tmp_path):
    (tmp_path / "p").write_text(f"# first\n{PUSH}scheme=hunter2\n")
    with pytest.raises(ConfigurationError) as caught:
        load(env={}, config_file=tmp_path / "p")
    assert caught.value.key == f"{PUSH}scheme"
    assert caught.value.source == f"{tmp_path / 'p'}:2"
    assert caught.value.__notes__ == [f"The value comes from {tmp_path / 'p'}:2."]
    assert "hunter2" not in str(caught.value)


def test_variables_are_in_capitals_with_underscores():
    env = {
        "IO_PROMETHEUS_EXPORTER_PUSHGATEWAY_READ_TIMEOUT_SECONDS": "1.5",
        "IO_PROMETHEUS_METRICS_LATENCY_SECONDS_HISTOGRAM_NATIVE_ONLY": "TRUE",
        "io_prometheus_exporter_pushgateway_job": "ignored",
        "PUSHGATE_INSTANCE": "blue",
        "PUSHGATE_SOMETHING_ELSE": "1",
        "PROMETHEUS_MULTIPROC_DIR": "/x",
    }
    loaded = load(env=env)
    assert loaded.pushgateway.read_timeout_seconds == 1.5
    assert loaded.pushgateway.job is None
    assert loaded.metric("latency_seconds").histogram_native_only is True
    assert loaded.metric("other").histogram_native_only is None
    assert loaded.own.instance == "blue"


def test_an_unknown_variable_is_shown_as_it_would_be_written():
    with pytest.raises(ConfigurationError, match=r"^IO_PROMETHEUS_EXPORTER_FOO: Unknown property"):
        load(env={"IO_PROMETHEUS_EXPORTER_FOO": "1"})


@pytest.mark.parametrize("key", ["io.prometheus.exporter.pushgatway.address", "pushgate.formatt"])
def test_a_typo_is_recognised(key):
    with pytest.raises(ConfigurationError, match="Unknown property, did you mean"):
        load({key: "x"}, env={})


def test_unknown_keys_can_be_made_warnings(caplog):
    caplog.set_level(logging.WARNING)
    load({"io.prometheus.nonsense": "x"}, env={}, strict=False)
    load({"io.prometheus.nonsense": "x"}, env={"PUSHGATE_STRICT": "false"})
    assert caplog.text.count("io.prometheus.nonsense: Unknown property") == 2


def test_system_properties_are_seen_at_once(monkeypatch):
    monkeypatch.setattr("pushgate.properties.loader._system", dict(_system))
    reload()
    set_system_property(f"{PUSH}job", "set")
    assert default().pushgateway.job == "set"
    assert default() is default()
    monkeypatch.undo()
    reload()


def test_the_names_that_the_documentation_gives_are_the_names_that_are_known():
    found = load(
        {
            "io.prometheus.exporter.pushgateway.connect_timeout_seconds": "3",
            "io.prometheus.exporter.pushgateway.read_timeout_seconds": "4",
        },
        env={},
    )
    timeouts = found.pushgateway.connect_timeout_seconds, found.pushgateway.read_timeout_seconds
    assert timeouts == (3, 4)
    with pytest.raises(ConfigurationError, match="Unknown property"):
        load({"io.prometheus.exporter.timestamps_in_ms": "true"}, env={})


@pytest.mark.parametrize("value", [5, False, None, {"a": "b"}])
def test_a_value_in_code_that_is_no_text_is_named(value):
    with pytest.raises(ConfigurationError, match=r"pushgate\.retries: expecting text, found"):
        load({"pushgate.retries": value}, env={})
