import os
import subprocess

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from pushgate.cli import main
from pushgate.properties import loader
from tests import services
from tests.client.metrics_proto import decode
from tests.client.rogue import answer, closed_port, rogue


@pytest.fixture(autouse=True)
def _own_properties(monkeypatch):
    monkeypatch.setattr(loader, "_system", {})
    loader.reload()
    yield
    loader.reload()


def pushgate(*arguments, stdin=None):
    return CliRunner().invoke(main, arguments, input=stdin)


def test_url_prints_where_a_push_would_go():
    done = pushgate("url", "-a", "h:1/x", "-j", "a b", "-g", "p=q/r", "--instance", "i")
    assert done.output == "http://h:1/x/metrics/job/a%20b/instance/i/p@base64/cS9y\n"


def test_properties_can_be_given(monkeypatch):
    monkeypatch.setenv("IO_PROMETHEUS_EXPORTER_PUSHGATEWAY_JOB", "env")
    done = pushgate("url", "-D", "io.prometheus.exporter.pushgateway.address=p:1")
    assert done.output == "http://p:1/metrics/job/env\n"


@pytest.mark.parametrize(
    "text",
    [
        "# TYPE rows_total counter\nrows_total 3\n",
        "# TYPE rows_total counter\r\nrows_total 3",
        "\ufeff# TYPE rows counter\nrows_total 3\n# EOF\n",
    ],
)
@pytest.mark.parametrize(("option", "method"), [((), "PUT"), (("--add",), "POST")])
def test_push_takes_text_that_a_gateway_refuses(text, option, method, tmp_path):
    file = tmp_path / "metrics"
    file.write_bytes(text.encode())
    with rogue() as server:
        assert pushgate("push", "-j", "j", "-a", server.url, *option, str(file)).exit_code == 0
        assert (
            pushgate("push", "-j", "j", "-a", server.url, *option, stdin=text.encode()).exit_code
            == 0
        )
    for request in server.seen:
        [family] = decode(request.body)
        assert (request.method, family.name) == (method, "rows_total")
        assert family.metric[0].counter.value == 3


def test_push_strips_timestamps_on_request():
    text = "rows 3 1700000000000\n"
    with rogue() as server:
        refused = pushgate("push", "-j", "j", "-a", server.url, stdin=text)
        assert refused.exit_code == 3
        assert "has a timestamp" in refused.output
        assert (
            pushgate(
                "push", "-j", "j", "-a", server.url, "--strip-timestamps", stdin=text
            ).exit_code
            == 0
        )
    assert len(server.seen) == 1


def test_set_pushes_gauges_and_keeps_the_rest():
    with rogue() as server:
        done = pushgate(
            "set", "-a", server.url, "-j", "j", "--format", "text",
            "rows=3", 'size{a="x=y"}=1e3', 'size{a="z"}=-1',
        )  # fmt: skip
    assert done.exit_code == 0
    [request] = server.seen
    assert request.method == "POST"
    families = {f.name: f for f in text_string_to_metric_families(request.body.decode())}
    assert families["rows"].type == "gauge"
    sizes = {sample.labels["a"]: sample.value for sample in families["size"].samples}
    assert sizes == {"x=y": 1000, "z": -1}


@pytest.mark.parametrize("value", ["rows", "rows=", "ro ws=1", "rows=x"])
def test_set_refuses_what_is_no_value(value):
    assert pushgate("set", "-j", "j", "-a", "h:1", value).exit_code == 3


def test_delete():
    with rogue(answer(202)) as server:
        assert pushgate("delete", "-a", server.url, "-j", "j").exit_code == 0
    assert server.seen[0].method == "DELETE"


def test_status_shows_who_holds_a_family():
    about = b'{"data":{"build_information":{"version":"1.11.3"},"flags":{},"start_time":"then"}}'
    groups = (
        b'{"data":[{"labels":{"job":"a"},"rows":{"type":"GAUGE","metrics":[]}},'
        b'{"labels":{"job":"b"},"last_push_successful":false,"size":{"type":"GAUGE","metrics":[]}}]}'
    )
    with rogue(
        answer(200, about), answer(200, groups), answer(200, about), answer(200, groups)
    ) as s:
        every, some = pushgate("status", "-a", s.url), pushgate("status", "-a", s.url, "size")
    first, last = '{job="a"} rows\n', '{job="b"} size  (last push failed)\n'
    assert every.output == f"version 1.11.3, started then\n{first}{last}"
    assert some.output == f"version 1.11.3, started then\n{last}"


@pytest.mark.parametrize(
    ("trouble", "status"), [(400, 3), (413, 3), (302, 3), (503, 4), (429, 4), (401, 5), (403, 5)]
)
def test_each_answer_has_its_exit_status(trouble, status):
    with rogue(answer(trouble, b"the reason")) as server:
        done = pushgate("delete", "-j", "j", "-a", server.url, "--retries", "0")
    assert done.exit_code == status
    assert "pushgate: Failed to delete" in done.output
    assert "the reason" in done.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("delete", "--no-such-option"),
        ("delete", "-j", "j", "-a", "h h"),
        ("delete", "-g", "novalue"),
        ("delete",),
        ("push",),
        ("set", "rows=1"),
        ("delete", "-j", "j", "-D", "io.prometheus.nonsense=1"),
        ("nonsense",),
    ],
)
def test_usage_and_configuration_are_status_2(arguments):
    assert pushgate(*arguments).exit_code == 2


def test_no_group_is_chosen_by_default():
    with rogue() as server:
        done = pushgate("delete", "-a", server.url)
    assert "Name it with --job" in done.output
    assert server.seen == []


def test_an_unreachable_gateway_is_status_4():
    done = pushgate("delete", "-j", "j", "-a", f"localhost:{closed_port()}", "--retries", "0")
    assert done.exit_code == 4


def test_a_configuration_error_names_its_source(tmp_path, monkeypatch):
    (tmp_path / "p").write_text("io.prometheus.exporter.pushgateway.scheme=ftp")
    monkeypatch.setenv("PROMETHEUS_CONFIG", str(tmp_path / "p"))
    done = pushgate("url")
    assert done.exit_code == 2
    assert f"The value comes from {tmp_path / 'p'}:1." in done.output


def test_help_and_version():
    assert "serve" in pushgate("--help").output
    assert pushgate("--version").output.startswith("pushgate, version ")


def test_a_large_push_shows_its_progress(monkeypatch):
    from pushgate.cli import commands

    monkeypatch.setattr(commands, "_LARGE", 1)
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)
    lines = "".join(f'rows{{n="{n}"}} 1\n' for n in range(3000))
    with rogue() as server:
        done = pushgate("push", "-j", "j", "-a", server.url, stdin=f"# TYPE rows gauge\n{lines}")
    assert done.exit_code == 0
    assert "100%" in done.stderr


def test_the_server_is_loaded_only_to_serve(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "pushgate.cli.pushgateway.main", lambda argv, prog: seen.append((tuple(argv), prog)) or 7
    )
    done = pushgate("serve", "--help", "--web.listen-address=:1", "-x")
    assert done.exit_code == 7
    assert seen == [(("--help", "--web.listen-address=:1", "-x"), "pushgate serve")]


def test_the_shell_can_complete_commands_and_options():
    script = subprocess.run(
        [services.PUSHGATE],
        env={**os.environ, "_PUSHGATE_COMPLETE": "bash_source"},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout
    assert "complete" in script
    words = {**os.environ, "_PUSHGATE_COMPLETE": "bash_complete", "COMP_CWORD": "2"}
    offered = subprocess.run(
        [services.PUSHGATE],
        env={**words, "COMP_WORDS": "pushgate push --comp"},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout
    assert "--compression" in offered
