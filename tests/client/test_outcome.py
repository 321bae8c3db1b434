from pushgate.client.outcome import outcome


def test_a_failed_run_leaves_the_time_of_the_last_success_alone():
    names = {name for name, _, _ in outcome(1000.0, 2.0, succeeded=False, code=7)}
    assert "last_failure_timestamp_seconds" in names
    assert "last_success_timestamp_seconds" not in names


def test_a_run_without_an_exit_status_pushes_none():
    values = {name: value for name, _, value in outcome(1000.0, 2.0, succeeded=True, code=None)}
    assert values == {
        "last_completion_timestamp_seconds": 1000.0,
        "duration_seconds": 2.0,
        "success": 1.0,
        "last_success_timestamp_seconds": 1000.0,
    }
