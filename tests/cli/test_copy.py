from tests.cli.commands import pushgate


def test_a_file_is_copied(tmp_path):
    source, target = tmp_path / "a.db", tmp_path / "b.db"
    with_nothing = pushgate("copy", str(source), str(target))
    assert (with_nothing.exit_code, with_nothing.stderr) == (
        2,
        f"pushgate: {source} does not exist\n",
    )
    source.touch()
    done = pushgate("copy", str(source), str(target))
    assert (done.exit_code, done.output) == (0, "copied 0 groups with 0 series\n")


def test_a_database_that_is_away_is_one_line(tmp_path):
    url = "postgresql://u:s3cret@127.0.0.1:1/db"
    done = pushgate("copy", url, str(tmp_path / "a.db"))
    assert done.exit_code == 2
    assert done.stderr.startswith("pushgate: can't use the database 127.0.0.1:1/db: ")
    assert "s3cret" not in done.stderr
    assert done.stderr.count("\n") == 1
