"""The same bytes on a connection, to Pushgate and to the Go Pushgateway."""

from collections import Counter

from tests import services
from tests.fuzz.wire import KNOWN, known, outcome, stream

SEEDS = 1200


def test_a_seed_makes_the_same_bytes_each_time():
    assert stream(7) == stream(7)
    assert stream(7) != stream(8)


def test_both_servers_find_the_same_requests_in_the_same_bytes():
    streams = [stream(seed) for seed in range(SEEDS)]
    compared = [data for data in streams if not known(data)]
    seen: Counter[int] = Counter()

    admin = "--web.enable-admin-api"
    with services.pushgate(admin) as ours, services.go_pushgateway(admin) as reference:
        for data in compared:
            for pause in (0.3, 1, 5):  # a server that is busy says nothing for a moment
                one, other = (outcome(server, data, pause=pause) for server in (ours, reference))
                if one == other:
                    break
            seen.update(other.statuses)
            assert one == other, data

    assert len(compared) > SEEDS / 2
    assert seen.keys() >= {100, 200, 202, 400, 404, 405, 417}


def test_each_difference_that_is_left_out_occurs():
    missing = {None, *KNOWN}
    for seed in range(10 * SEEDS):
        missing.discard(known(stream(seed)))
        if not missing:
            break
    assert not missing
