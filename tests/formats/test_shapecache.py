"""What is known of bodies costs little memory, and goes with the groups that used it."""

import gc
import threading
import tracemalloc
from collections.abc import Callable
from weakref import ref

import pytest

from pushgate.formats.protobuf.reader import ProtobufReader
from pushgate.formats.shapecache import BoundedCache, ShapeCache, shape_cost
from pushgate.formats.text import TextReader
from pushgate.model.family import FamilyShape, MetricType
from pushgate.model.grouping import GroupingKey
from pushgate.model.names import NameRule
from pushgate.model.shape import PushShape, interned
from tests.formats.protobuf.bodies import body as protobuf_body, family, labels
from tests.layouts import render

JOB = GroupingKey([("job", "j")])


def shape(number: int) -> PushShape:
    return interned((FamilyShape(f"m{number}", MetricType.GAUGE, None, ((),)),))


def test_what_is_seen_once_is_not_wanted():
    cache = BoundedCache(1000)
    assert [cache.wants(key) for key in "abac"] == [False, False, True, False]


def test_what_was_used_last_is_kept():
    cache = BoundedCache(1000)
    for key in "abcde":
        cache.put(key, key, 240)
        cache.get("a")
    assert [key for key in "abcde" if cache.get(key)] == ["a", "c", "d", "e"]
    assert cache.bytes == 960


def test_room_is_made_even_if_everything_was_used():
    cache = BoundedCache(1000)
    for key in "abcdef":
        cache.put(key, key, 240)
        assert all(cache.get(kept) for kept in [*cache._kept])
    assert cache.bytes == 4 * 240
    assert cache.get("f") == "f"


def test_what_costs_more_than_a_quarter_is_not_kept():
    cache = BoundedCache(1000)
    assert cache.put("a", 1, 250)
    assert not cache.put("b", 1, 251)
    assert (cache.get("a"), cache.get("b"), cache.bytes) == (1, None, 250)


def test_only_so_many_keys_are_noted():
    cache = BoundedCache(1000)
    for number in range(50_000):
        assert not cache.wants(number)
    assert len(cache._noted) <= 20_000


def test_a_shape_is_known_as_long_as_a_group_holds_it():
    cache = ShapeCache(8000)
    stored = [shape(number) for number in range(20)]
    for number, one in enumerate(stored):
        cache.put(str(number), one, None, 100)
    assert all(cache.get(str(number)) == (one, None) for number, one in enumerate(stored))
    del stored, one
    known = [number for number in range(20) if cache.get(str(number))]
    assert len(known) <= 8000 // shape_cost(shape(0))
    assert cache.bytes <= 2 * 8000
    assert 0 not in known
    assert 19 in known


def test_a_key_that_gets_another_shape_outlives_the_first():
    cache = ShapeCache(8000)
    for number in range(2):
        cache.put("key", shape(number), None, 100)
    cache._held = BoundedCache(8000)  # nobody holds them any more
    kept = shape(2)
    cache.put("key", kept, None, 100)
    gc.collect()
    assert cache.get("key") == (kept, None)


def test_what_makes_room_is_free_without_a_collection():
    class Key(str):
        __slots__ = ("__weakref__",)

    cache, key, stored = ShapeCache(1000), Key("key"), [shape(number) for number in range(20)]
    gc.disable()
    try:
        gone = ref(key)
        cache.put(key, stored[0], None, 100)
        del key
        for number, one in enumerate(stored):
            cache.put(str(number), one, None, 100)
        assert gone() is None
    finally:
        gc.enable()


def test_threads_may_share_a_cache():
    cache, failures = ShapeCache(8000), []

    def use(seed: int) -> None:
        try:
            for step in range(3000):
                number = (seed * step) % 30
                cache.put(str(number), shape(number), None, 100)
                cache.get(str(number))
        except Exception as error:  # noqa: BLE001 - it is the result
            failures.append(error)

    threads = [threading.Thread(target=use, args=(seed,)) for seed in (7, 11, 13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for kept in (cache._held, cache._entries):
        assert kept.bytes == sum(entry.size for entry in kept._kept.values())


def text_body(number: int) -> bytes:
    return b"".join(b'n%dx%d{l="%d"} 1\n' % (number, i, number) for i in range(80))


def protobuf(number: int) -> bytes:
    return protobuf_body(
        *(
            family(
                name=b"n%dx%d" % (number, i),
                type=MetricType.GAUGE,
                metric=[{"label": labels(l=str(number)), "gauge": {"value": 1}}],
            )
            for i in range(80)
        )
    )


@pytest.mark.parametrize(
    ("reader", "body", "times"),
    [
        (lambda: TextReader(NameRule.LEGACY), text_body, 1),
        (lambda: TextReader(NameRule.LEGACY, cache_bytes=512 << 10), text_body, 3),
        (ProtobufReader, protobuf, 1),
        (lambda: ProtobufReader(cache_bytes=512 << 10), protobuf, 4),
    ],
    ids=["text once", "text often", "protobuf once", "protobuf often"],
)
def test_new_names_without_end_cost_a_bounded_amount_of_memory(
    reader: Callable, body: Callable[[int], bytes], times: int
):
    reading = reader()

    def push(number: int) -> None:
        sent = body(number)
        for _ in range(times):
            pushed = reading.read(sent)
            assert render(pushed.shape, [JOB], [pushed.numbers])

    for number in range(3):
        push(number)
    tracemalloc.start()
    try:
        for number in range(3, 30):
            push(number)
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < (1 << 20) + 2 * reading.cache_bytes
    assert reading.cache_bytes <= 2 << 20
