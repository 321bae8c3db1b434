"""Groups and shapes survive the way through bytes."""

import json
import struct

import pytest
from hypothesis import given, strategies as st

from pushgate.model.family import FamilyShape, MetricType
from pushgate.model.grouping import GroupingKey
from pushgate.model.quoting import text
from pushgate.model.shape import Pushed, interned
from pushgate.server.storage import codec
from pushgate.server.storage.codec import (
    DamagedRecord,
    decode_group,
    decode_shape,
    encode_group,
    encode_shape,
)
from pushgate.server.store.group import Block, Failure, Group
from tests.examples import few_large_examples
from tests.server.pushes import key, pushed

any_text = st.binary(max_size=6).map(text) | st.text(st.characters(exclude_categories=["Cs"]))
utf8 = st.text(st.characters(exclude_categories=["Cs"]))
labels = st.lists(st.tuples(any_text, any_text), max_size=3).map(tuple)
bounds = st.lists(st.sampled_from(["0.5", "+Inf", "NaN"]), max_size=3).map(tuple)
times = st.integers(0, 2**62)


@st.composite
def shapes(draw):
    families = []
    for name in draw(st.lists(any_text, max_size=3, unique=True)):
        kind = draw(st.sampled_from(MetricType))
        metrics = draw(st.lists(labels, max_size=3))
        points = () if kind.is_simple else tuple(draw(bounds) for _ in metrics)
        said = draw(st.none() | any_text)
        families.append(FamilyShape(name, kind, said, tuple(metrics), points))
    return interned(tuple(families))


@st.composite
def blocks(draw):
    shape = draw(shapes())
    numbers = b" ".join([draw(st.sampled_from([b"1", b"NaN", b"-0"]))] * shape.series)
    metrics = sum(len(family.labels) for family in shape.families)
    details = draw(st.just(()) | st.tuples(*[st.binary(max_size=9)] * metrics))
    dropped = draw(st.sets(st.sampled_from(shape.names))) if shape.names else ()
    of_families = struct.pack(f"<{len(shape.names)}q", *[draw(times) for _ in shape.names])
    return Block(
        Pushed(shape, numbers, details),
        draw(times),
        frozenset(dropped),
        draw(st.sampled_from([b"", of_families])),
    )


names = st.text("abc_", min_size=1)
groups = st.builds(
    Group,
    st.dictionaries(names, utf8).map(lambda more: GroupingKey((more | {"job": "j"}).items())),
    st.lists(blocks(), max_size=3).map(tuple),
    pushed_at=times,
    failed_at=times,
    since=times,
    failure=st.none() | st.builds(Failure, any_text, any_text),
    history=st.binary(max_size=100),
)


def stored(group: Group) -> tuple[bytes, bytes, list]:
    """Return the key and state of *group*, and its shapes by id."""
    found: list = []

    def shape_id(shape) -> int:
        found.append(shape)
        return len(found) - 1

    return group.key.packed, encode_group(group, shape_id), found


@few_large_examples
@given(groups)
def test_a_group_survives(group):
    packed, state, found = stored(group)
    again = decode_group(packed, state, dict(enumerate(found)))
    assert again.key == group.key
    assert [(b.pushed, b.received, b.times, b.dropped) for b in again.blocks] == [
        (b.pushed, b.received, b.times, b.dropped) for b in group.blocks
    ]
    for part in ("pushed_at", "failed_at", "since", "failure", "history"):
        assert getattr(again, part) == getattr(group, part)


@given(shapes())
def test_a_shape_survives(shape):
    assert decode_shape(7, encode_shape(7, shape)) is shape


@given(shapes(), st.integers(1, 2), st.sampled_from([10, 100]))
def test_a_shape_that_is_written_and_read_in_pieces_survives(shape, labels_at_once, size):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(codec, "_AT_ONCE", labels_at_once)
        patched.setattr(codec, "_FAMILY_BYTES_AT_ONCE", size)
        encoded = encode_shape(7, shape)
        assert decode_shape(7, encoded) is shape
    # Versions that read it in one piece, and find no meaning in white space, read the same.
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(codec, "_families", codec._parsed)
        assert decode_shape(7, encoded) is shape


def test_no_piece_of_a_large_shape_is_large(monkeypatch):
    pieces = []
    monkeypatch.setattr(codec, "_parsed", lambda piece: pieces.append(piece) or json.loads(piece))
    series = "".join(f'm{{x="{number:050}"}} 1\n' for number in range(5_000))
    points = "".join(f'h_bucket{{x="{n}",le="+Inf"}} 1\n' for n in range(5_000))
    families = "".join(f'm{number}{{x="{number:050}"}} 1\n' for number in range(5_000))
    shape = pushed(f"{series}# TYPE h histogram\n{points}{families}").shape
    assert decode_shape(7, encode_shape(7, shape)) is shape
    assert max(map(len, pieces)) < 300_000 < sum(map(len, pieces))


def example() -> tuple[bytes, bytes, list]:
    block = Block(pushed("a 1\nb 2\n")._replace(details=(b"one", b"two")), 5)
    return stored(Group(key(), (block,), pushed_at=1, failed_at=0, since=1))


def test_a_state_that_ends_early_is_noticed():
    packed, state, found = example()
    for length in range(len(state)):
        with pytest.raises(ValueError, match=r"ends early|checksum"):
            decode_group(packed, state[:length], dict(enumerate(found)))


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_is_noticed(bit):
    packed, state, found = example()
    for at in range(len(state)):
        flipped = state[:at] + bytes([state[at] ^ 1 << bit]) + state[at + 1 :]
        with pytest.raises(ValueError, match="checksum"):
            decode_group(packed, flipped, dict(enumerate(found)))


def test_a_shape_that_is_missing_is_noticed():
    packed, state, _ = example()
    with pytest.raises(DamagedRecord, match=r'^group \{job="j"\}: it needs shape 0$'):
        decode_group(packed, state, {})


@pytest.mark.parametrize("packed", [b"", b"job", b"a\xff1\xffjob"])
def test_a_damaged_key_is_noticed(packed):
    with pytest.raises(DamagedRecord):
        decode_group(packed, example()[1], {0: interned(())})


def test_labels_that_families_share_are_stored_once():
    shared, others = ((("x", "value"),),), ((("x", "other"),),)
    named = (("a", shared), ("b", shared), ("c", others))
    families = [FamilyShape(name, MetricType.GAUGE, None, labels) for name, labels in named]
    encoded = encode_shape(7, interned(tuple(families)))
    assert encoded.count(b"value") == 1
    a, b, c = decode_shape(7, encoded).families
    assert b.labels is a.labels != c.labels


def test_labels_that_families_share_may_be_stored_twice():
    # As all did before, those of the same format included.
    encoded = '[["a",1,null,[[["x","1"]]],[]],["b",1,null,[[["x","1"]]],[]]]'
    a, b = decode_shape(7, encoded.encode(), has_checksum=False).families
    assert b.labels is a.labels == ((("x", "1"),),)


NO_LABELS = '[["a", 1, null, null, []]]'


@pytest.mark.parametrize(
    "encoded", ["", "{", "1", "[1]", '[["a"]]', '[["a", 9, null, [], []]]', NO_LABELS]
)
def test_what_is_no_shape_is_noticed(encoded):
    with pytest.raises(ValueError):  # noqa: PT011 - the journal says which file
        decode_shape(7, encoded.encode(), has_checksum=False)


def test_a_shape_that_is_changed_or_has_another_number_is_noticed():
    encoded = encode_shape(7, pushed('a{b="c"} 1\n').shape)
    for at in range(len(encoded)):
        flipped = encoded[:at] + bytes([encoded[at] ^ 1]) + encoded[at + 1 :]
        with pytest.raises(ValueError, match="checksum"):
            decode_shape(7, flipped)
    with pytest.raises(ValueError, match="checksum"):
        decode_shape(8, encoded)
    with pytest.raises(ValueError, match="shape 7: it ends early"):
        decode_shape(7, b"")
