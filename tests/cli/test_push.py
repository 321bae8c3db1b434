import subprocess
from pathlib import Path

import pytest

from tests.cli.commands import families, process, pushgate
from tests.client.rogue import rogue
from tests.services import PUSHGATE


@pytest.mark.parametrize(
    "text",
    [
        "# TYPE rows_total counter\nrows_total 3\n",
        "# TYPE rows_total counter\r\nrows_total 3 \t",
        "\ufeff# TYPE rows counter\nrows_total 3\n# EOF\n",
    ],
)
@pytest.mark.parametrize(("option", "method"), [((), "PUT"), (("--add",), "POST")])
def test_push_takes_text_that_a_gateway_refuses(text, option, method, tmp_path):
    file = tmp_path / "metrics"
    file.write_bytes(text.encode())
    with rogue() as server:
        target = ("push", "-j", "j", "-a", server.url, *option)
        assert pushgate(*target, file).exit_code == 0
        assert pushgate(*target, stdin=text.encode()).exit_code == 0
    for request in server.seen:
        assert request.method == method
        assert request.body.endswith(b"# TYPE rows_total counter\nrows_total 3\n")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("# TYPE backups counter\nbackups 3\n", 'backups{instance="",job="as_is"} 3'),
        ("# TYPE hot GAUGE\nhot 1e0\n", 'hot{instance="",job="as_is"} 1'),
        ("# TYPE s summary\ns 5\ns_sum 2\n", 's_sum{instance="",job="as_is"} 2'),
    ],
)
def test_text_is_pushed_as_it_is(text, line, gateway):
    assert pushgate("push", "-j", "as_is", "-a", gateway.url, stdin=text).exit_code == 0
    assert line in gateway.get("/metrics").splitlines()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("\nrows three\n", 'stdin, line 2: expected float as value, got "three": rows three'),
        ("rows 3\nrows{a=1} 3\n", "stdin, line 2: expected '\"' at start of label value"),
        ("# TYPE a x\n", 'stdin, line 1: unknown metric type "x": # TYPE a x'),
        ("# TYPE rows gauge\nrows three\n# EOF\n", "stdin, line 2: "),
        ("rows 3\n# EOF\n# EOF\n", "stdin, line 3: nothing may follow # EOF"),
    ],
)
def test_what_is_not_the_text_format_is_refused_with_its_line(text, complaint):
    done = pushgate("push", "-j", "j", "-a", "localhost:1", stdin=text)
    assert done.exit_code == 3
    assert complaint in done.stderr


def test_timestamps_are_refused_with_their_line_or_stripped():
    text = 'rows{a="} 1 2"} 3 1700000000000\n# HELP rows 1 2 3\nrows 4\n'
    with rogue() as server:
        target = ("push", "-j", "j", "-a", server.url)
        refused = pushgate(*target, stdin=text)
        assert refused.exit_code == 3
        assert "stdin, line 1: rows has a timestamp" in refused.stderr
        assert "--strip-timestamps removes it" in refused.stderr
        assert pushgate(*target, "--strip-timestamps", stdin=text).exit_code == 0
    assert server.seen[0].body == b'rows{a="} 1 2"} 3\n# HELP rows 1 2 3\nrows 4\n'


def test_timestamps_of_openmetrics_are_refused_or_stripped():
    text = "# TYPE rows gauge\nrows 3 1700000000\n# EOF\n"
    with rogue() as server:
        target = ("push", "-j", "j", "-a", server.url)
        refused = pushgate(*target, stdin=text)
        assert refused.exit_code == 3
        assert "--strip-timestamps" in refused.stderr
        assert pushgate(*target, "--strip-timestamps", stdin=text).exit_code == 0
    assert server.seen[0].body == b"# TYPE rows gauge\nrows 3\n"


def test_a_label_of_the_group_is_refused_with_its_line_or_allowed():
    text = 'row 1\nrows{table="a"} 1\nrows{table="b",host="x"} 1\n'
    with rogue() as server:
        target = ("push", "-j", "j", "-g", "host=h", "-a", server.url)
        refused = pushgate(*target, stdin=text)
        assert refused.exit_code == 3
        assert "stdin, line 3: rows has the label 'host'" in refused.stderr
        assert "--on-label-clash allow" in refused.stderr
        assert pushgate(*target, "--on-label-clash", "allow", stdin=text).exit_code == 0
    assert server.seen[0].body == text.encode()


@pytest.mark.parametrize("text", ["", "\n", "# TYPE rows gauge\n", "# EOF\n"])
def test_an_empty_input_does_not_empty_the_group(text, caplog):
    with rogue() as server:
        target = ("push", "-j", "j", "-a", server.url)
        for option in ((), ("--add",)):
            refused = pushgate(*target, *option, stdin=text)
            assert refused.exit_code == 3
            assert "no metrics in stdin; --allow-empty" in refused.stderr
        assert server.seen == []
        assert pushgate(*target, "--allow-empty", stdin=text).exit_code == 0
    assert caplog.text == ""
    assert server.seen[0].method == "PUT"


def test_several_files_are_one_push(tmp_path, gateway):
    (tmp_path / "a").write_text('# HELP rows Rows.\n# TYPE rows gauge\nrows{file="a"} 1\n')
    (tmp_path / "b").write_text('# HELP rows Rows.\n# TYPE rows gauge\nrows{file="b"} 2')
    done = pushgate("push", "-a", gateway.url, "-j", "both", tmp_path / "a", tmp_path / "b")
    assert (done.exit_code, done.output) == (0, "")
    exposition = gateway.get("/metrics")
    assert 'rows{file="a",instance="",job="both"} 1' in exposition
    assert 'rows{file="b",instance="",job="both"} 2' in exposition


def test_files_that_contradict_each_other_are_refused(tmp_path):
    (tmp_path / "a").write_text("# TYPE rows gauge\nrows 1\n")
    (tmp_path / "b").write_text("# TYPE rows counter\nrows 2\n")
    done = pushgate("push", "-a", "localhost:1", "-j", "j", tmp_path / "a", tmp_path / "b")
    assert done.exit_code == 3
    assert f"rows is a gauge in {tmp_path}/a and a counter in {tmp_path}/b" in done.stderr


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    done = pushgate("push", "-a", "localhost:1", "-j", "j", tmp_path)
    assert done.exit_code == 2
    assert f"pushgate: {tmp_path} cannot be read: Is a directory" in done.stderr


def test_a_dry_run_prints_the_body_and_sends_nothing():
    with rogue() as server:
        done = pushgate("push", "-a", server.url, "-j", "j", "--dry-run", stdin="rows 3")
    assert done.stdout == "rows 3\n"
    assert f"would PUT to {server.url}/metrics/job/j: 1 family, 1 series, 7 bytes" in done.stderr
    assert server.seen == []


def test_verbose_says_what_was_pushed(monkeypatch):
    with rogue() as server:
        target = ("push", "-a", server.url, "-j", "j", "-v")
        done = pushgate(*target, stdin="rows 3")
        monkeypatch.setenv("PUSHGATE_ENABLED", "false")
        off = pushgate(*target, stdin="rows 3")
    assert f"pushed to {server.url}/metrics/job/j: 1 family, 1 series, 7 bytes" in done.stderr
    assert "nothing, because pushing is disabled" in off.stderr
    assert len(server.seen) == 1


def test_a_large_push_shows_its_progress(monkeypatch):
    from pushgate.cli import push

    monkeypatch.setattr(push, "_LARGE", 1)
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)
    lines = "".join(f'rows{{n="{n}"}} 1\n' for n in range(3000))
    with rogue() as server:
        done = pushgate("push", "-j", "j", "-a", server.url, stdin=f"# TYPE rows gauge\n{lines}")
    assert done.exit_code == 0
    assert "100%" in done.stderr
    assert len(families(server.seen[0])["rows"].samples) == 3000


def test_a_full_disk_under_stdout_is_no_traceback():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [PUSHGATE, "push", "-j", "j", "--dry-run"],
            input="rows 3\n", stdout=full, stderr=subprocess.PIPE, text=True, timeout=30,
            check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.endswith("pushgate: cannot write to stdout: No space left on device\n")


def test_a_dry_run_without_a_stdout_only_checks():
    done = subprocess.run(
        f"echo rows 3 | {PUSHGATE} push -j j --dry-run >&-", shell=True, capture_output=True,
        text=True, timeout=30, check=True,
    )  # fmt: skip
    assert done.stderr.startswith("pushgate: would PUT to ")


def test_https_where_the_gateway_speaks_http_fails_at_once_and_says_so(ours):
    address = ours.url.replace("http://", "https://")
    done = process("push", "-a", address, "-j", "j", "--retries", "0", input="rows 3\n")
    assert done.returncode == 4
    assert "that port speaks plain HTTP; use http://" in done.stderr


def test_merge_keeps_all_other_series(ours):
    for flags, text in (((), 'm{l="1"} 1\nm{l="2"} 2\n'), (("--merge",), 'm{l="2"} 3\n')):
        done = pushgate("push", "-a", ours.url, "-j", "merged", *flags, stdin=text)
        assert (done.exit_code, done.output) == (0, "")
    shown = [line for line in ours.get("/metrics").splitlines() if 'job="merged",l=' in line]
    assert [line[-1] for line in shown] == ["1", "3"]


def test_add_and_merge_exclude_each_other():
    done = pushgate("push", "-j", "j", "--add", "--merge", stdin="m 1\n")
    assert (done.exit_code, "exclude each other" in done.stderr) == (2, True)
