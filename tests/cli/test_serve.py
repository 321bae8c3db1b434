from tests.cli.commands import pushgate


def test_the_server_is_loaded_only_to_serve(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "pushgate.cli.pushgateway.main", lambda argv, prog: seen.append((tuple(argv), prog)) or 7
    )
    done = pushgate("serve", "--help", "--web.listen-address=:1", "-x")
    assert done.exit_code == 7
    assert seen == [(("--help", "--web.listen-address=:1", "-x"), "pushgate serve")]
