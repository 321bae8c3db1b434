"""Which groups and shapes a batch adds to the journal, and which it removes."""

from hypothesis import given, strategies as st

from pushgate.model.shape import PushShape
from pushgate.server.storage.codec import decode_group
from pushgate.server.storage.ids import Ids
from pushgate.server.store.group import Block, Group
from pushgate.server.store.store import Step
from tests.server.pushes import key, pushed


def group(job: str, *bodies: str) -> Group:
    blocks = tuple(Block(pushed(body), 1) for body in bodies)
    return Group(key(job), blocks, pushed_at=1, failed_at=0, since=1)


def shape(body: str) -> PushShape:
    return pushed(body).shape


def test_a_shape_is_new_once_and_goes_with_its_last_block():
    ids = Ids()
    first = [Step(None, group("a", "m 1\n")), Step(None, group("b", "m 2\n", "n 1\n"))]
    batch = ids.batch(first)
    assert batch.new == {shape("m 1\n"): 1, shape("n 1\n"): 2}
    ids.apply(batch)

    batch = ids.batch([Step(first[0].after, None)])
    assert (batch.new, batch.unused) == ({}, {})
    ids.apply(batch)

    batch = ids.batch([Step(first[1].after, group("b", "n 5\n"))])
    assert (batch.new, batch.unused) == ({}, {shape("m 1\n"): 1})
    [(number, packed, state)] = ids.group_rows(batch)
    assert (number, packed) == (2, key("b").packed)
    found = decode_group(packed, state, {2: shape("n 1\n")})
    assert [block.pushed for block in found.blocks] == [pushed("n 5\n")]


def test_a_group_keeps_its_id_until_it_is_deleted():
    ids = Ids()
    ids.apply(ids.batch([Step(None, group("a")), Step(None, group("b"))]))
    batch = ids.batch([Step(group("a"), None), Step(group("b"), group("b", "m 1\n"))])
    assert (batch.groups, batch.deleted) == ({key("a").packed: 1, key("b").packed: 2}, [1])
    ids.apply(batch)
    assert ids.batch([Step(None, group("a"))]).groups == {key("a").packed: 3}


def test_what_is_not_applied_changes_nothing():
    ids = Ids()
    steps = [Step(None, group("a", "m 1\n"))]
    assert ids.batch(steps) == ids.batch(steps)


def test_shapes_that_no_group_uses_are_found_at_the_load():
    ids = Ids()
    shapes = {3: shape("m 1\n"), 7: shape("n 1\n")}
    assert ids.load({key("a").packed: 1}, shapes, [group("a", "m 1\n")]) == [7]
    batch = ids.batch([Step(None, group("b", "n 1\n"))])
    assert batch.new == {shape("n 1\n"): 8}


bodies = st.lists(st.sampled_from(["m 1\n", "n 1\n", "o 1\n"]), max_size=3, unique=True)


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.none() | bodies), max_size=8))
def test_after_any_batches_the_ids_are_those_of_the_shapes_in_use(batches):
    ids, stored = Ids(), {}
    in_file: dict[int, PushShape] = {}
    for contents in batches:
        steps = []
        for job, content in contents.items():
            after = None if content is None else group(job, *content)
            if stored.get(job) or after:
                steps.append(Step(stored.get(job), after))
                stored[job] = after
        batch = ids.batch(steps)
        in_file |= {number: shape for shape, number in batch.new.items()}
        for number in batch.unused.values():
            del in_file[number]
        ids.apply(batch)
        used = {b.pushed.shape for g in stored.values() if g for b in g.blocks}
        assert set(in_file.values()) == used
        assert len(in_file) == len(used)
