import pytest

from tests.cli.commands import process, pushgate
from tests.client.rogue import answer, closed_port, rogue
from tests.waiting import until


def test_delete_deletes_the_group(gateway):
    pushgate("set", "-a", gateway.url, "-j", "gone", "-g", "a=b", "rows=1")
    done = pushgate("delete", "-a", gateway.url, "-j", "gone", "-g", "a=b")
    assert (done.exit_code, done.output) == (0, "")
    until(lambda: 'job="gone"' not in gateway.get("/metrics"))  # Go answers before it deletes


def test_delete_says_that_nothing_was_there(gateway):
    done = pushgate("delete", "-a", gateway.url, "-j", "never", "-g", "a=b")
    assert done.exit_code == 0
    assert f'there was no group {{job="never",a="b"}} at {gateway.url}' in done.stderr


def test_delete_does_without_the_list_of_groups():
    with rogue(answer(404), answer(202)) as server:
        done = pushgate("delete", "-a", server.url, "-j", "j")
    assert (done.exit_code, done.output) == (0, "")
    assert [request.method for request in server.seen] == ["GET", "DELETE"]


@pytest.mark.parametrize(
    ("trouble", "status"), [(400, 3), (413, 3), (302, 3), (503, 4), (429, 4), (401, 5), (403, 5)]
)
def test_each_answer_has_its_exit_status(trouble, status):
    with rogue(answer(trouble, b"the reason")) as server:
        done = pushgate("delete", "-j", "j", "-a", server.url, "--retries", "0")
    assert done.exit_code == status
    assert "pushgate: Failed to delete" in done.stderr
    assert "the reason" in done.stderr


def test_an_unreachable_gateway_is_status_4():
    done = pushgate("delete", "-j", "j", "-a", f"localhost:{closed_port()}", "--retries", "0")
    assert done.exit_code == 4


def test_no_group_is_chosen_by_default():
    with rogue() as server:
        done = pushgate("delete", "-a", server.url)
    assert done.exit_code == 2
    assert "name it with --job" in done.stderr
    assert server.seen == []


def test_delete_has_no_option_that_means_nothing_for_it():
    shown = process("delete", "--help").stdout
    assert "--address" in shown
    for option in ("--compression", "--on-label-clash", "--format"):
        assert option not in shown
