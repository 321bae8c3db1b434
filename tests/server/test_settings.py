import pytest
from hypothesis import given, strategies as st

from pushgate.errors import UsageError
from pushgate.server.flags import TextRequested
from pushgate.server.settings import FLAGS, Settings, parse
from tests import flagspage, services


def settings(*argv):
    return parse(argv, "pushgateway")


def complaint(*argv):
    with pytest.raises(UsageError) as refused:
        settings(*argv)
    line = str(refused.value)
    assert line.startswith("pushgateway: error: ")
    assert line.endswith(", try --help")
    return line.removeprefix("pushgateway: error: ").removesuffix(", try --help")


def shown(*argv):
    with pytest.raises(TextRequested) as requested:
        settings(*argv)
    return requested.value.text


def test_without_arguments_everything_has_its_default():
    assert settings() == Settings()
    assert settings().persistence_wait == 0
    assert settings().web_listen_address == (":9091",)
    assert settings().persistence_file == "data/pushgate.db"
    assert settings().persistence_interval == 300 * 10**9
    assert settings().limit_body_bytes == 32 * 2**20


def test_a_field_is_named_like_its_flag():
    names = {flag.name.replace(".", "_").replace("-", "_") for flag in FLAGS.values()}
    assert names == {*Settings.__slots__} - {"given"}


def test_what_was_given_is_known_even_if_it_is_the_default():
    assert settings().given == frozenset()
    assert settings("--persistence.file=data/pushgate.db").given == {"persistence_file"}


def test_a_value_follows_an_equals_sign_or_stands_alone():
    assert settings("--log.level=debug").log_level == "debug"
    assert settings("--log.level", "DEBUG").log_level == "debug"
    assert settings("--persistence.file=").persistence_file == ""


def test_a_switch_is_on_or_off():
    assert settings("--web.enable-lifecycle").web_enable_lifecycle is True
    assert settings("--no-web.enable-lifecycle").web_enable_lifecycle is False


def test_only_the_listen_address_can_be_repeated():
    both = settings("--web.listen-address=:1", "--web.listen-address", ":2")
    assert both.web_listen_address == (":1", ":2")
    assert complaint("--log.level=info", "--log.level=debug") == (
        "argument --log.level: it cannot be repeated"
    )


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--nope"], "unrecognized arguments: --nope"),
        (["--no-log.level=x"], "unrecognized arguments: --no-log.level=x"),
        (["--log.leve=info"], "unrecognized arguments: --log.leve=info"),
        (["-v"], "unrecognized arguments: -v"),
        (["foo"], "unrecognized arguments: foo"),
        (["--persistence.interval=abc"], 'time: invalid duration "abc"'),
        (["--persistence.interval=5"], 'time: missing unit in duration "5"'),
        (["--log.level=foo"], "argument --log.level: unrecognized log level foo"),
        (["--log.format=JSON"], "unrecognized log format JSON"),
        (["--web.enable-lifecycle=foo"], "ignored explicit argument 'foo'"),
        (["--web.enable-lifecycle", "--no-web.enable-lifecycle"], "it cannot be repeated"),
        (["--web.listen-address"], "argument --web.listen-address: expected one argument"),
        (["--log.level", "--version"], "argument --log.level: expected one argument"),
        (["--persistence.interval", "-m"], "expected one argument"),
        (["@"], "No such file or directory"),
        (["@/nope"], "No such file or directory: '/nope'"),
    ],
)
def test_a_wrong_command_line_is_refused_with_the_argument_that_is_wrong(argv, message):
    assert message in complaint(*argv)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://[::1", "Invalid IPv6 URL"),
        ("http://x:y", "Port could not be cast to integer value as 'y'"),
        ("http://x:99999", "Port out of range 0-65535"),
        ("ftp://h/", "expected one like https://example.org/path"),
        ("http://a\x01b", "expected one like https://example.org/path"),
    ],
)
def test_an_external_url_that_is_none_is_refused(url, reason):
    assert f'invalid URL "{url}": {reason}' in complaint(f"--web.external-url={url}")


@pytest.mark.parametrize("url", ["", "http://h:80/a b?c=d#e", "//h/x", "x/y", "http://[::1]:90/"])
def test_an_external_url_may_be_short(url):
    assert settings(f"--web.external-url={url}").web_external_url == url


SECRET_URL = "postgresql://u:s3cret@h:5432/db?sslmode=require&sslpassword=s3cret"


def test_a_database_takes_the_place_of_the_persistence_file():
    assert settings(f"--persistence.url={SECRET_URL}").persistence_url == SECRET_URL
    from_environment = parse([], "p", {"PUSHGATE_PERSISTENCE_URL": SECRET_URL})
    assert from_environment.persistence_url == SECRET_URL
    both = parse(["--persistence.url=postgres://h/"], "p", {"PUSHGATE_PERSISTENCE_URL": SECRET_URL})
    assert both.persistence_url == "postgres://h/"


def test_the_password_of_the_database_is_never_shown():
    rows = settings(f"--persistence.url={SECRET_URL}").rows()
    shown = "postgresql://u:xxxxx@h:5432/db?sslmode=require&sslpassword=xxxxx"
    assert rows["persistence.url"] == shown
    for argument in (
        f"--persistence.ulr={SECRET_URL}",
        f"--persistence.url={SECRET_URL} ",
        f"--persistence.url=x{SECRET_URL}",
    ):
        assert "s3cret" not in complaint(argument)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mysql://h/", "expected a URL like postgresql://user@host/name"),
        ("host=h", "expected a URL like postgresql://user@host/name"),
        ("postgresql://h/a b", "a URL must not contain blanks"),
    ],
)
def test_what_names_no_database_is_refused(url, reason):
    assert reason in complaint(f"--persistence.url={url}")
    with pytest.raises(UsageError, match=reason):
        parse([], "p", {"PUSHGATE_PERSISTENCE_URL": url})


@pytest.mark.parametrize("file", ["", "data/pushgate.db"])
def test_a_file_and_a_database_together_are_refused(file):
    line = complaint(f"--persistence.file={file}", f"--persistence.url={SECRET_URL}")
    assert "leave one of them out" in line
    assert "s3cret" not in line


@pytest.mark.parametrize("flag", ["persistence.max-staleness", "push.ttl", "push.forget-after"])
def test_what_is_waited_for_is_not_negative(flag):
    assert settings(f"--{flag}=90s").rows()[flag] == "1m30s"
    assert "may not be negative" in complaint(f"--{flag}=-1s")


def test_trusted_proxies_are_networks():
    assert settings().web_trusted_proxies == ()
    given = settings("--web.trusted-proxies=127.0.0.1, 10.1.0.0/8,::1/128")
    assert [str(network) for network in given.web_trusted_proxies] == [
        "127.0.0.1/32",
        "10.0.0.0/8",
        "::1/128",
    ]
    assert given.rows()["web.trusted-proxies"] == "127.0.0.1/32,10.0.0.0/8,::1/128"
    assert complaint("--web.trusted-proxies=127.0.0.1,proxy").endswith(
        'invalid network "proxy": expected an address or a CIDR, e.g. 10.0.0.0/8'
    )


@pytest.mark.parametrize(
    ("argv", "route_prefix", "external_prefix"),
    [
        ([], "", ""),
        (["--web.route-prefix=/"], "", ""),
        (["--web.route-prefix=foo/"], "/foo", ""),
        (["--web.external-url=http://ex.org"], "", ""),
        (["--web.external-url=http://ex.org/pg/"], "/pg", "/pg"),
        (["--web.external-url=http://ex.org/a%62"], "/ab", "/ab"),
        (["--web.external-url=http://ex.org/pg", "--web.route-prefix=/"], "", "/pg"),
        (["--web.external-url=http://ex.org/pg", "--web.route-prefix=/int"], "/int", "/pg"),
        (["--web.route-prefix=//a//"], "//a/", ""),
    ],
)
def test_prefixes_come_from_the_route_prefix_or_the_external_url(
    argv, route_prefix, external_prefix
):
    chosen = settings(*argv)
    assert (chosen.route_prefix, chosen.external_prefix) == (route_prefix, external_prefix)
    assert chosen.rows()["web.route-prefix"] == route_prefix


@pytest.mark.parametrize(
    ("argv", "path"),
    [
        ([], "/metrics"),
        (["--web.telemetry-path=/a/../b/"], "/b"),
        (["--web.telemetry-path=//b"], "/b"),
        (["--web.route-prefix=/pg"], "/pg/metrics"),
        (["--web.route-prefix=/pg", "--web.telemetry-path=x"], "/pg/x"),
        (["--web.route-prefix=/pg", "--web.telemetry-path="], "/pg"),
    ],
)
def test_the_telemetry_path_is_clean_and_below_the_route_prefix(argv, path):
    assert settings(*argv).telemetry_path == path


@pytest.mark.parametrize("path", ["", "foo", "."])
def test_a_telemetry_path_starts_with_a_slash(path):
    assert 'must start with "/"' in complaint(f"--web.telemetry-path={path}")


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("1000", 1000), ("3KiB", 3072), ("2GiB", 2**31)]
)
def test_a_size_is_bytes_or_has_a_binary_unit(text, size):
    chosen = settings(f"--limit.body-bytes={text}")
    assert chosen.limit_body_bytes == size
    assert chosen.rows()["limit.body-bytes"] == text


@pytest.mark.parametrize("text", ["", "1MB", "-1", "1.5MiB", "MiB", "\u0661"])
def test_what_is_no_size_is_refused(text):
    assert f'invalid size "{text}"' in complaint(f"--limit.body-bytes={text}")


def test_a_count_is_digits():
    assert settings("--limit.groups", "7").limit_groups == 7
    assert 'invalid number "1k"' in complaint("--limit.groups=1k")


def test_arguments_can_come_from_a_file(tmp_path):
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    inner.write_text("# comment\n\n--log.format\njson\n")
    outer.write_text(f"@{inner}\n--web.enable-lifecycle")
    chosen = settings(f"@{outer}", "--log.level=warn")
    assert (chosen.log_format, chosen.log_level) == ("json", "warn")
    assert chosen.web_enable_lifecycle


def test_a_file_of_arguments_that_includes_itself_is_refused(tmp_path):
    file = tmp_path / "loop"
    file.write_text(f"@{file}\n")
    assert complaint(f"@{file}") == "files of arguments include each other"


def test_help_explains_every_flag():
    text = shown("--log.level=info", "--help")
    assert text == shown("-h")
    assert text.startswith("usage: pushgateway [<flags>]\n\nThe Pushgateway\n\n")
    words = " ".join(text.split())
    for flag in FLAGS.values():
        assert f"--{flag.name}" in words
        assert " ".join(flag.help.split()) in words


def test_the_version_is_shown_whatever_follows():
    assert shown("--version", "--nope").startswith("pushgateway, version 0.1.0 (branch: ")


def test_the_rows_are_the_texts_of_the_status_page():
    rows = settings(
        "--persistence.interval=90s",
        "--web.listen-address=:1",
        "--web.listen-address=:2",
        "--web.enable-admin-api",
        "--web.external-url=https://user:secret@ex.org/pg",
    ).rows()
    assert list(rows) == sorted(rows)
    assert {flag.name for flag in FLAGS.values()} == {*rows}
    assert rows["persistence.interval"] == "1m30s"
    assert rows["web.listen-address"] == ":1,:2"
    assert rows["web.enable-admin-api"] == "true"
    assert rows["web.enable-lifecycle"] == "false"
    assert rows["web.route-prefix"] == "/pg"
    assert rows["web.external-url"] == "https://user:xxxxx@ex.org/pg"


WORDS = st.sampled_from(
    [flag.name for flag in FLAGS.values()]
    + [
        "help",
        "version",
        "no-web.enable-lifecycle",
        "",
        "-",
        "--",
        "@",
        "@/nope",
        "=",
        "1s",
        "http://[",
        "0",
    ]
).flatmap(lambda word: st.sampled_from([word, f"--{word}", f"--{word}=", f"-{word}=x"]))


@given(st.lists(WORDS | st.text(max_size=8).map("--web.external-url=".__add__), max_size=6))
def test_any_command_line_is_read_or_refused(argv):
    try:
        chosen = settings(*argv)
    except (UsageError, TextRequested):
        return
    assert all(isinstance(text, str) for text in chosen.rows().values())


def test_the_page_of_flags_is_made_from_the_settings():
    """If it is not: make docs."""
    assert (services.ROOT / "docs/flags.md").read_text() == flagspage.page()
