import os
import subprocess
import sys

import pytest

from tests.cli.commands import process, pushgate
from tests.client.rogue import rogue, stall

PROPERTY = "io.prometheus.exporter.pushgateway"
VARIABLE = "IO_PROMETHEUS_EXPORTER_PUSHGATEWAY"


@pytest.mark.parametrize(
    ("options", "url"),
    [
        (("-a", "flag:1"), "https://flag:1/metrics/job/env/from/env"),
        (("-a", "http://flag:1"), "http://flag:1/metrics/job/env/from/env"),
        (("-j", "flag"), "https://env:1/metrics/job/flag/from/env"),
        (("-g", "a=b"), "https://env:1/metrics/job/env/a/b"),
        (("--instance", "i"), "https://env:1/metrics/job/env/from/env/instance/i"),
        (("-D", f"{PROPERTY}.address=d:1"), "https://d:1/metrics/job/env/from/env"),
        (("-D", f"{PROPERTY}.job=d", "-j", "flag"), "https://env:1/metrics/job/flag/from/env"),
    ],
)
def test_a_flag_wins_over_the_environment(options, url, monkeypatch):
    monkeypatch.setenv(f"{VARIABLE}_ADDRESS", "env:1")
    monkeypatch.setenv(f"{VARIABLE}_SCHEME", "https")
    monkeypatch.setenv(f"{VARIABLE}_JOB", "env")
    monkeypatch.setenv("PUSHGATE_GROUPING_KEY", "from=env")
    assert pushgate("url", *options).output == f"{url}\n"


def test_a_flag_wins_over_a_property_file(tmp_path, monkeypatch):
    (tmp_path / "p").write_text(f"{PROPERTY}.address=file:1\n{PROPERTY}.job=file\n")
    monkeypatch.setenv("PROMETHEUS_CONFIG", str(tmp_path / "p"))
    assert pushgate("url").output == "http://file:1/metrics/job/file\n"
    assert pushgate("url", "-a", "flag:1", "-j", "j").output == "http://flag:1/metrics/job/j\n"


def test_what_the_flag_names_is_deleted_not_what_the_environment_names(monkeypatch):
    with rogue() as production, rogue() as staging:
        monkeypatch.setenv(f"{VARIABLE}_ADDRESS", production.url)
        monkeypatch.setenv(f"{VARIABLE}_JOB", "production")
        assert pushgate("delete", "-a", staging.url, "-j", "staging").exit_code == 0
    assert production.seen == []
    assert staging.seen[-1].path == "/metrics/job/staging"


def test_a_timeout_equal_to_the_default_wins_too(monkeypatch):
    monkeypatch.setenv("PUSHGATE_DEADLINE_SECONDS", "60")
    with rogue(stall) as server:
        done = process("set", "-a", server.url, "-j", "j", "--timeout", "500ms", "rows=1")
    assert done.returncode == 4
    assert "the deadline passed" in done.stderr  # and not after 60 s


def test_credentials_of_a_flag_win(tmp_path, monkeypatch):
    (tmp_path / "secret").write_text("s3cret\n")
    (tmp_path / "other").write_text("other")
    monkeypatch.setenv("PUSHGATE_BEARER_TOKEN_FILE", str(tmp_path / "other"))
    with rogue() as server:
        for options in (
            ("--user", "me", "--password-file", tmp_path / "secret"),
            ("--bearer-token-file", tmp_path / "secret"),
            (),
        ):
            assert pushgate("set", "-a", server.url, "-j", "j", *options, "r=1").exit_code == 0
        with_user = server.url.replace("//", "//me:s3cret@")
        assert pushgate("set", "-a", with_user, "-j", "j", "r=1").exit_code == 0
        monkeypatch.setenv(f"{VARIABLE}_ADDRESS", with_user)
        token = ("--bearer-token-file", tmp_path / "secret")
        assert pushgate("set", "-j", "j", *token, "r=1").exit_code == 0
    basic = "Basic bWU6czNjcmV0"
    sent = [request.headers["authorization"] for request in server.seen]
    assert sent == [basic, "Bearer s3cret", "Bearer other", basic, "Bearer s3cret"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--user", "me"), "--user and --password-file belong together"),
        (("--user", "me", "--password-file", "/no/such"), "--password-file: /no/such cannot be"),
        (("-g", "job=x"), "set it with --job"),
        (("-g", "instance=x", "--instance", "y"), "Give --instance or an instance with --group"),
        (("-a", "h h"), "The value comes from --address."),
        (("-D", f"{PROPERTY}.scheme=ftp"), "The value comes from --define."),
        (("-a", "u:p@h", "--user", "me", "--password-file", os.devnull), "Give one of --user"),
    ],
)
def test_messages_speak_of_flags(options, complaint):
    done = pushgate("set", "-j", "j", *options, "rows=1")
    assert done.exit_code == 2
    assert complaint in done.stderr


def test_properties_are_given_before_or_after_the_command():
    for before, after in (
        (("-D", f"{PROPERTY}.job=d"), ()),
        ((), ("-D", f"{PROPERTY}.job=d")),
        (("-D", f"{PROPERTY}.job=x"), ("-D", f"{PROPERTY}.job=d")),
    ):
        done = pushgate(*before, "url", *after)
        assert done.output == "http://localhost:9091/metrics/job/d\n"


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("PUSHGATE_RETRYS", "PUSHGATE_RETRIES"),
        ("PUSHGATE_BEARER_TOKENFILE", "PUSHGATE_BEARER_TOKEN_FILE"),
        ("PUSHGATE_TOKEN_FILE", "PUSHGATE_BEARER_TOKEN_FILE"),
        ("PUSHGATE_GROUPINGKEY", "PUSHGATE_GROUPING_KEY"),
        ("PUSHGATE_TOKEN", "PUSHGATE_BEARER_TOKEN"),
        ("PUSHGATE_DEADLINE", "PUSHGATE_DEADLINE_SECONDS"),
        ("PUSHGATE_GROUP", "PUSHGATE_GROUPING_KEY"),
        ("PUSHGATE_TIMEOUT", f"{VARIABLE}_CONNECT_TIMEOUT_SECONDS"),
        ("PUSHGATE_ADDRESS", f"{VARIABLE}_ADDRESS"),
        ("PUSHGATE_JOB", f"{VARIABLE}_JOB"),
        (f"{VARIABLE}_ADRESS", f"{VARIABLE}_ADDRESS"),
    ],
)
def test_a_misspelt_variable_is_an_error_that_says_what_was_meant(variable, meant, monkeypatch):
    monkeypatch.setenv(variable, "x")
    done = pushgate("url", "-j", "j")
    assert done.exit_code == 2
    assert f"did you mean {meant}?" in done.stderr


@pytest.mark.parametrize(
    "variable",
    [
        "PUSHGATE_PORT",
        "PUSHGATE_SERVICE_HOST",
        "PUSHGATE_SERVICE_PORT",
        "PUSHGATE_PORT_9091_TCP",
        "PUSHGATE_PORT_9091_TCP_ADDR",
        "PUSHGATE_PORT_9091_TCP_PROTO",
        "PUSHGATE_JOB_SERVICE_HOST",
        "PUSHGATE_URL",
        "PUSHGATE_DIR",
        "PUSHGATE_METRICS_FILE",
        "PUSHGATE_STRICT",
        "PUSHGATE_TEST_GO_PUSHGATEWAY",
    ],
)
def test_variables_of_others_are_left_alone(variable, monkeypatch):
    monkeypatch.setenv(variable, "x")
    assert pushgate("url", "-j", "j").exit_code == 0


def test_a_configuration_error_names_its_source(tmp_path, monkeypatch):
    (tmp_path / "p").write_text(f"{PROPERTY}.scheme=ftp")
    monkeypatch.setenv("PROMETHEUS_CONFIG", str(tmp_path / "p"))
    done = pushgate("url")
    assert done.exit_code == 2
    assert f"The value comes from {tmp_path / 'p'}:1." in done.stderr


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
        ("delete", "-j", "j", "--timeout", "0"),
        ("delete", "-j", "j", "--timeout", "soon"),
    ],
)
def test_usage_and_configuration_are_status_2(arguments):
    assert pushgate(*arguments).exit_code == 2


def test_the_client_commands_work_in_a_base_install():
    code = (
        "import sys\n"
        "extras = 'apsw backports bcrypt cramjam cryptography httptools isal jinja2 joserfc'\n"
        "for name in f'{extras} google orjson yaml starlette uvicorn uvloop'.split():\n"
        "    sys.modules[name] = None\n"
        "from pushgate.cli import main\n"
        "main()"
    )
    with rogue() as server:
        for text in ("rows 3\n", "rows 3\n# EOF\n"):
            subprocess.run(
                [sys.executable, "-c", code, "push", "-j", "j", "-a", server.url],
                input=text, text=True, timeout=30, check=True,
            )  # fmt: skip
        run = ["run", "-a", server.url, "--", "sh", "-c", "echo rows 3 > $PUSHGATE_METRICS_FILE"]
        subprocess.run([sys.executable, "-c", code, *run], timeout=30, check=True)
    assert [b"rows 3" in request.body for request in server.seen] == [True] * 3


@pytest.mark.parametrize("key", ["job", "io.promtheus.exporter.pushgateway.job", "PUSHGATE_JOB"])
def test_a_property_that_does_not_exist_is_refused_where_a_flag_sets_it(key):
    done = pushgate("url", "-a", "a:1", "-j", "j", "-D", f"{key}=x")
    assert done.exit_code == 2
    said = " ".join(done.output.split())  # it is wrapped to the width of the terminal
    assert f"{key}: Unknown property; properties begin with io.prometheus. or pushgate." in said


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        (f"{VARIABLE}_ADDRESS", "a b", "Invalid Pushgateway address"),
        (f"{VARIABLE}_JOB", "", "The job must not be empty."),
        ("PUSHGATE_GROUPING_KEY", "__a=b", "Illegal name '__a' in --group"),
        ("PUSHGATE_PROXY", "socks5://p", "proxy: expecting"),
        ("PUSHGATE_BASIC_AUTH_FILE", "/nope", "cannot be read: No such file or directory"),
        ("PUSHGATE_HEADERS_FILE", "/", "cannot be read: Is a directory"),
    ],
)
def test_a_wrong_value_of_the_environment_names_its_variable(
    variable, value, complaint, monkeypatch
):
    monkeypatch.setenv(f"{VARIABLE}_JOB", "j")
    monkeypatch.setenv(variable, value)
    done = pushgate("url")
    assert done.exit_code == 2
    assert complaint in done.stderr
    assert f"The value comes from ${variable}." in done.stderr


def test_a_near_miss_in_a_file_says_what_was_meant(tmp_path, monkeypatch):
    (tmp_path / "p").write_text("pushgate.retrys=5")
    monkeypatch.setenv("PROMETHEUS_CONFIG", str(tmp_path / "p"))
    assert "did you mean pushgate.retries?" in pushgate("url", "-j", "j").stderr
