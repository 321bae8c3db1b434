"""The limits of pushes and of the store."""

import pytest

from pushgate.errors import LimitExceeded
from pushgate.server.store.bounds import Bounds
from pushgate.server.store.change import Fail
from pushgate.server.store.store import Store
from tests.server.pushes import change, key, put


@pytest.mark.parametrize(
    ("bounds", "body", "limit"),
    [
        (Bounds(series_per_push=2), "a 1\nb 1\nc 1\n", "series-per-push"),
        (Bounds(labels_per_series=2), 'a{x="",y=""} 1\n', "labels-per-series"),
        (Bounds(label_name_bytes=3), 'a{wxyz=""} 1\n', "label-name-bytes"),
        (Bounds(label_value_bytes=3), 'a{x="éé"} 1\n', "label-value-bytes"),
    ],
)
def test_a_push_may_be_too_large(bounds, body, limit):
    store = Store(bounds=bounds)
    with pytest.raises(LimitExceeded) as caught:
        store.admit(put(key(), body))
    assert (caught.value.limit, caught.value.status) == (limit, 413)
    assert f"(--limit.{limit})" in str(caught.value)
    change(store, put(key(), 'a{x="éé"} 1\n' if limit.endswith("push") else 'b{x="é"} 1\n'))


@pytest.mark.parametrize(
    "bounds", [Bounds(labels_per_series=1), Bounds(label_name_bytes=4), Bounds(label_value_bytes=5)]
)
def test_a_grouping_key_may_be_too_large(bounds):
    store = Store(bounds=bounds)
    large = key(place="x" * 6)
    with pytest.raises(LimitExceeded):
        store.admit(put(large, "a 1\n"))
    assert store.admit(Fail(large, 1)) == []
    assert len(store) == 0


def test_a_store_may_be_full_of_series():
    store = Store(bounds=Bounds(series=3))
    change(store, put(key("a"), "a 1\nb 1\n"))
    with pytest.raises(LimitExceeded) as caught:
        store.admit(put(key("b"), "a 1\nb 1\n"))
    assert (caught.value.limit, caught.value.status) == ("series", 429)
    change(store, put(key("a"), "c 1\nd 1\ne 1\n"))
    change(store, put(key("a"), "a 1\n"))
    change(store, put(key("b"), "a 1\nb 1\n"))
    assert store.series == 3


def test_a_store_may_be_full_of_groups():
    store = Store(bounds=Bounds(groups=1))
    change(store, put(key("a"), ""))
    with pytest.raises(LimitExceeded) as caught:
        store.admit(put(key("b"), ""))
    assert (caught.value.limit, caught.value.status) == ("groups", 429)
    assert store.admit(Fail(key("b"), 1)) == []
    change(store, put(key("a"), "a 1\n"))
