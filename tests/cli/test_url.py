from tests.cli.commands import pushgate


def test_url_prints_where_a_push_would_go():
    done = pushgate("url", "-a", "h:1/x", "-j", "a b", "-g", "p=q/r", "--instance", "i")
    assert done.output == "http://h:1/x/metrics/job/a%20b/instance/i/p@base64/cS9y\n"


def test_url_has_no_option_that_means_nothing_for_it():
    shown = pushgate("url", "--help").output
    assert "--address" in shown
    for option in ("--timeout", "--retries", "--user", "--bearer-token-file", "--insecure"):
        assert option not in shown
