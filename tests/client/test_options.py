import inspect
import logging
import math
import ssl

import pytest

from pushgate import ConfigurationError, PushGateway, Retry
from pushgate.client.options import ABOUT
from pushgate.properties import reload
from tests.client.rogue import rogue

PREFIX = "io.prometheus.exporter.pushgateway."


def gateway(properties, address=None, **options):
    return PushGateway(address, properties=properties, **options)


def test_a_property_wins_over_a_keyword_and_says_so(caplog):
    caplog.set_level(logging.INFO, "pushgate.client")
    made = gateway({f"{PREFIX}address": "p:1", f"{PREFIX}job": "prop"}, "k:2", job="code")
    assert made.url == "http://p:1/metrics/job/prop"
    gateway({f"{PREFIX}address": "p:1", f"{PREFIX}job": "prop"}, "k:2", job="code")
    assert [record.message for record in caplog.records] == [
        "address= is overridden by the properties given by code",
        "job= is overridden by the properties given by code",
    ]


def test_an_overridden_argument_names_the_variable_and_the_line(caplog, monkeypatch, tmp_path):
    caplog.set_level(logging.INFO, "pushgate.client")
    (tmp_path / "prometheus.properties").write_text(f"# shared\n{PREFIX}job = fromfile\n")
    monkeypatch.setenv("PROMETHEUS_CONFIG", str(tmp_path / "prometheus.properties"))
    monkeypatch.setenv("IO_PROMETHEUS_EXPORTER_PUSHGATEWAY_ADDRESS", "production:9091")
    reload()
    assert PushGateway("staging:9091", job="code").url == (
        "http://production:9091/metrics/job/fromfile"
    )
    variable = "$IO_PROMETHEUS_EXPORTER_PUSHGATEWAY_ADDRESS"
    assert f"address= is overridden by {variable}" in caplog.text
    assert f"job= is overridden by {tmp_path}/prometheus.properties:2" in caplog.text


def test_an_argument_that_the_properties_repeat_is_not_reported(caplog):
    caplog.set_level(logging.INFO, "pushgate.client")
    gateway({f"{PREFIX}connect_timeout_seconds": "5"}, connect_timeout=5)
    assert not caplog.records


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_scheme_property_works(scheme):
    assert gateway({f"{PREFIX}scheme": scheme}, "h:1").url.startswith(f"{scheme}://h:1/")


def test_timeouts_come_from_properties_unless_they_are_zero():
    made = gateway(
        {f"{PREFIX}connectTimeoutSeconds": "7", f"{PREFIX}readTimeoutSeconds": "0"}, read_timeout=2
    )
    for each, connect, read in ((made, 7, 2), (gateway(False), 10, 10)):
        timeouts = each._route.timeouts(math.inf)
        assert (timeouts["connect"], timeouts["read"]) == (connect, read)


def test_the_escaping_scheme_property_is_used():
    assert (
        gateway(
            {f"{PREFIX}escaping_scheme": "dots"}, escaping_scheme="values"
        )._options.escaping_scheme
        == "dots"
    )
    assert gateway(False)._options.escaping_scheme is None


def test_of_our_own_properties_a_keyword_wins(tmp_path):
    (tmp_path / "auth").write_text("user:pass\n")
    (tmp_path / "headers").write_text("X-Tenant: a\n")
    made = gateway(
        {
            "pushgate.format": "text",
            "pushgate.deadline_seconds": "2.5",
            "pushgate.retries": "1",
            "pushgate.grouping_key": "region=eu,zone=a",
            "pushgate.instance": "blue",
            "pushgate.basic_auth_file": str(tmp_path / "auth"),
            "pushgate.headers_file": str(tmp_path / "headers"),
            "pushgate.compression": "gzip",
            "pushgate.verify": "false",
        },
        deadline=4,
    )
    options = made._options
    assert (options.format, options.deadline, made._retry) == ("text", 4, Retry(attempts=2))
    assert made.grouping_key == {"region": "eu", "zone": "a", "instance": "blue"}
    assert options.headers == {"X-Tenant": "a"}
    assert options.compression == "gzip"
    assert made._credentials.header(renew=False) == "Basic dXNlcjpwYXNz"
    assert not made._options.verify


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("basic_auth_file", "user\n", "expecting user:password in "),
        ("headers_file", "X-A: 1\n\nX-Key s3cret\n", "line 3: expecting Name: value"),
    ],
)
def test_a_file_that_is_not_in_its_form_is_named_and_not_shown(tmp_path, file, content, message):
    (tmp_path / "file").write_text(content)
    with pytest.raises(ConfigurationError, match=message) as caught:
        gateway({f"pushgate.{file}": str(tmp_path / "file")})
    assert str(tmp_path / "file") in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_deadline_of_0_is_one_that_is_not_set():
    assert gateway({"pushgate.deadline_seconds": "0"})._options.deadline == 30


def test_what_a_program_brings_itself_is_not_mixed_with_properties():
    properties = {
        "pushgate.ca_file": "ca.pem",
        "pushgate.client_cert": "me.pem",
        "pushgate.verify": "false",
        "pushgate.instance": "blue",
    }
    context = ssl.create_default_context()
    options = gateway(properties, ssl_context=context)._options
    assert (options.ssl_context, options.ca_file, options.verify) == (context, None, True)
    assert gateway(properties)._options.client_cert == ("me.pem", "me.pem")
    assert gateway(properties, grouping_key={"instance": "x"}).grouping_key == {"instance": "x"}


def test_the_environment_configures_a_program(monkeypatch):
    monkeypatch.setenv("IO_PROMETHEUS_EXPORTER_PUSHGATEWAY_ADDRESS", "env:1")
    monkeypatch.setenv("PUSHGATE_RETRIES", "0")
    reload()
    made = PushGateway(job="j")
    assert made.url == "http://env:1/metrics/job/j"
    assert made._retry.attempts == 1


def test_an_error_in_the_properties_is_not_sticky(monkeypatch):
    monkeypatch.setenv("IO_PROMETHEUS_EXPORTER_PUSHGATEWAY_SCHEME", "ftp")
    reload()
    with pytest.raises(ConfigurationError, match="Illegal value"):
        PushGateway()
    monkeypatch.setenv("IO_PROMETHEUS_EXPORTER_PUSHGATEWAY_SCHEME", "https")
    assert PushGateway(job="j").url == "https://localhost:9091/metrics/job/j"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "json"}, "format: expecting one of 'auto', 'protobuf', 'text'"),
        ({"compression": "zstd"}, "compression: expecting"),
        ({"url_encoding": "x"}, "url_encoding: expecting one of 'base64', 'percent'"),
        ({"on_empty": "x"}, "on_empty: expecting one of 'warn', 'skip', 'error'"),
        ({"include_created": "yes"}, "include_created: expecting True or False, found str"),
        ({"deadline": 0}, "deadline: expecting seconds above 0"),
        ({"deadline": "30"}, "deadline: expecting seconds, found str"),
        ({"deadline": True}, "deadline: expecting seconds, found bool"),
        ({"deadline": float("nan")}, "deadline: expecting seconds above 0"),
        ({"read_timeout": "1"}, "read_timeout: expecting seconds, found str"),
        ({"retry": "3"}, "retry: expecting a Retry, or the number of retries, found str"),
        ({"retry": True}, "retry: expecting"),
        ({"address": 9091}, "address: expecting text such as 'gateway:9091', found int"),
        ({"grouping_key": "a=b"}, "grouping_key: expecting a mapping of label names"),
        ({"headers": [("a", "b")]}, "headers: expecting a mapping"),
        ({"basic_auth": "user:secret"}, "basic_auth: expecting .user, password., found str"),
        ({"basic_auth": ("user", None)}, "basic_auth: expecting .user, password."),
        ({"client_cert": "me.pem"}, "client_cert: expecting .certificate, key., found str"),
        ({"client_cert": ("me.pem",)}, "client_cert: expecting .certificate, key."),
        (
            {"verify": "ca.pem"},
            "verify: expecting True or False; a file of authorities is ca_file=",
        ),
        ({"verify": None}, "verify: expecting True or False.*, found NoneType"),
        ({"enabled": None}, "enabled: expecting True or False, found NoneType"),
        ({"retry": None}, "retry: expecting a Retry, or the number of retries, found NoneType"),
        ({"client_cert": ("me.pem", None)}, "client_cert: expecting .certificate, key."),
        ({"ca_file": 1}, "ca_file: expecting a path"),
        ({"registry": "rows"}, "registry: expecting a registry, or another object with collect"),
        ({"bearer_token": 5}, "bearer_token: expecting text or a function, found int"),
        ({"properties": "a=b"}, "properties: expecting a mapping, False or None, found str"),
        ({"properties": True}, "properties: expecting a mapping, False or None, found bool"),
        ({"proxy": 3128}, "proxy: expecting a URL"),
        ({"connect_timeout": -1}, "connect_timeout"),
        ({"retry": -1}, "must not be negative"),
        ({"job": ""}, "job must not be empty"),
        ({"instance": "a", "grouping_key": {"instance": "b"}}, "not both"),
    ],
)
def test_wrong_options_are_refused_at_once(options, message):
    with pytest.raises(ConfigurationError, match=message):
        PushGateway(**{"job": "j", "properties": False, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attempts": 0}, "attempts: expecting at least 1, found 0"),
        ({"attempts": "3"}, "attempts: expecting a number, found str"),
        ({"base": -1}, "base: expecting seconds, 0 or more, found -1"),
        ({"cap": float("inf")}, "cap: expecting seconds, 0 or more, found inf"),
        ({"cap": "10"}, "cap: expecting seconds, 0 or more, found '10'"),
        ({"statuses": 503}, "statuses: expecting HTTP statuses, such as .503."),
        ({"statuses": {"503"}}, "statuses: expecting HTTP statuses, such as .503."),
    ],
)
def test_an_impossible_retry_is_refused_at_once(options, message):
    with pytest.raises(ConfigurationError, match=message):
        Retry(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"headers": {"X-N": 5}}, "The header 'X-N' is int instead of text"),
        ({"headers": {"X-N": lambda: None}}, "The header 'X-N' is NoneType instead of text"),
        ({"bearer_token": lambda: None}, "bearer_token function returned NoneType instead of text"),
    ],
)
def test_what_a_function_returns_is_checked_when_it_is_used(caller, options, message):
    with pytest.raises(ConfigurationError, match=message):
        caller.call(caller.make("h:1", **options), "delete")


def test_a_filter_counts_only_when_asked_for(registry):
    properties = {"io.prometheus.exporter.filter.metric_name_must_not_start_with": "ro,x"}
    assert gateway(properties, registry=registry).render().families == 1
    assert gateway(properties, registry=registry, apply_filter=True).render().families == 0


def test_a_wrong_deadline_of_one_call_is_refused(caller):
    with pytest.raises(ConfigurationError, match="deadline: expecting seconds, found str"):
        caller.call(caller.make("h:1"), "push", deadline="30")
    with pytest.raises(ConfigurationError, match="interval: expecting seconds, found str"):
        caller.make("h:1").periodic("15")
    with pytest.raises(ConfigurationError, match="deadline: expecting seconds, found str"):
        caller.make("h:1").push_at_exit(deadline="5")


def test_a_token_comes_from_the_environment(monkeypatch, caller):
    monkeypatch.setenv("PUSHGATE_BEARER_TOKEN", "s3cret")
    reload()
    with rogue() as server:
        gateway = caller.kind(server.url, job="j")
        caller.call(gateway, "delete")
        caller.call(gateway.replace(bearer_token="mine"), "delete")
    assert [r.headers["authorization"] for r in server.seen] == ["Bearer s3cret", "Bearer mine"]
    assert "s3cret" not in repr(gateway)


def test_two_kinds_of_token_in_the_properties_contradict_each_other():
    properties = {"pushgate.bearer_token": "s3cret", "pushgate.bearer_token_file": "token"}
    with pytest.raises(ConfigurationError, match="Give one of") as caught:
        gateway(properties)
    assert "s3cret" not in str(caught.value)


def test_help_shows_every_option_with_its_default_and_its_meaning():
    parameters = inspect.signature(PushGateway).parameters
    assert list(parameters) == list(ABOUT)
    assert parameters["deadline"].default == 30.0
    for name, about in ABOUT.items():
        assert f"{name}: {about.doc}" in PushGateway.__doc__


def test_the_properties_can_switch_pushing_off_and_so_can_an_argument(registry):
    off = {"pushgate.enabled": "false"}
    assert gateway(off, registry=registry).push().status == 0
    assert gateway(False, registry=registry, enabled=False).push().status == 0


@pytest.mark.parametrize(
    ("address", "options", "header"),
    [
        ("u:p@h:1", {}, "Basic dTpw"),
        ("h:1", {"basic_auth": ("u", "p")}, "Basic dTpw"),
        ("h:1", {"bearer_token": "mine"}, "Bearer mine"),
        ("h:1", {"headers": {"Authorization": "Mine"}}, None),
        ("h:1", {}, "Bearer s3cret"),
    ],
)
def test_credentials_of_a_program_leave_no_room_for_those_of_the_properties(
    address, options, header
):
    made = gateway({"pushgate.bearer_token": "s3cret"}, address, **options)
    assert (made._credentials and made._credentials.header(renew=False)) == header


@pytest.mark.parametrize(
    ("variable", "value", "options"),
    [
        ("PUSHGATE_GROUPING_KEY", "instance=b", {"instance": "a"}),
        (
            "IO_PROMETHEUS_EXPORTER_PUSHGATEWAY_ADDRESS",
            "user:s3cret@gateway",
            {"bearer_token": "mine"},
        ),
    ],
)
def test_a_property_that_contradicts_an_argument_is_named(monkeypatch, variable, value, options):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match="Give ") as caught:
        PushGateway(**options)
    assert caught.value.source == f"${variable}"


def test_a_wrong_value_names_the_property_it_comes_from_and_an_argument_does_not(monkeypatch):
    monkeypatch.setenv("IO_PROMETHEUS_EXPORTER_PUSHGATEWAY_ADDRESS", "a b")
    monkeypatch.setenv("PUSHGATE_PROXY", "socks5://h")
    with pytest.raises(ConfigurationError) as caught:
        PushGateway("gateway:9091")
    assert caught.value.source == "$IO_PROMETHEUS_EXPORTER_PUSHGATEWAY_ADDRESS"
    monkeypatch.delenv("IO_PROMETHEUS_EXPORTER_PUSHGATEWAY_ADDRESS")
    reload()
    with pytest.raises(ConfigurationError) as caught:
        PushGateway(proxy="socks5://other")
    assert caught.value.source == ""
