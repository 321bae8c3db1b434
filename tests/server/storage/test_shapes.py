"""Which shapes a batch adds to the file, and which it makes superfluous."""

from hypothesis import given, strategies as st

from pushgate.model.shape import PushShape
from pushgate.server.storage.shapes import ShapeIds
from pushgate.server.store.group import Block, Group
from pushgate.server.store.store import Step
from tests.server.pushes import key, pushed


def group(job: str, *bodies: str) -> Group:
    blocks = tuple(Block(pushed(body), 1) for body in bodies)
    return Group(key(job), blocks, pushed_at=1, failed_at=0, since=1)


def shape(body: str) -> PushShape:
    return pushed(body).shape


def test_a_shape_is_new_once_and_goes_with_its_last_block():
    ids = ShapeIds()
    first = [Step(None, group("a", "m 1\n")), Step(None, group("b", "m 2\n", "n 1\n"))]
    change = ids.change(first)
    assert change.new == {shape("m 1\n"): 1, shape("n 1\n"): 2}
    ids.apply(change)

    change = ids.change([Step(first[0].after, None)])
    assert (change.new, change.unused) == ({}, {})
    ids.apply(change)

    change = ids.change([Step(first[1].after, group("b", "n 5\n"))])
    assert (change.new, change.unused) == ({}, {shape("m 1\n"): 1})
    assert ids.id_of(shape("n 1\n"), change) == 2


def test_what_is_not_applied_changes_nothing():
    ids = ShapeIds()
    steps = [Step(None, group("a", "m 1\n"))]
    assert ids.change(steps) == ids.change(steps)


def test_shapes_that_no_group_uses_are_found_at_the_load():
    ids = ShapeIds()
    shapes = {3: shape("m 1\n"), 7: shape("n 1\n")}
    assert ids.load(shapes, [group("a", "m 1\n")]) == [7]
    change = ids.change([Step(None, group("b", "n 1\n"))])
    assert change.new == {shape("n 1\n"): 8}


bodies = st.lists(st.sampled_from(["m 1\n", "n 1\n", "o 1\n"]), max_size=3, unique=True)


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.none() | bodies), max_size=8))
def test_after_any_batches_the_ids_are_those_of_the_shapes_in_use(batches):
    ids, stored = ShapeIds(), {}
    in_file: dict[int, PushShape] = {}
    for batch in batches:
        steps = []
        for job, content in batch.items():
            after = None if content is None else group(job, *content)
            if stored.get(job) or after:
                steps.append(Step(stored.get(job), after))
                stored[job] = after
        change = ids.change(steps)
        in_file |= {number: shape for shape, number in change.new.items()}
        for number in change.unused.values():
            del in_file[number]
        ids.apply(change)
        used = {b.pushed.shape for g in stored.values() if g for b in g.blocks}
        assert set(in_file.values()) == used
        assert len(in_file) == len(used)
