"""The check of linearizability accepts what one server could have answered, and nothing else."""

import math
import random

import pytest

from tests.replicas.linear import Operation, State, violation

NOTHING: State = frozenset()


def state(**series: str) -> State:
    return frozenset(series.items())


def put(value: str, began: float, ended: float = math.inf, *names: str) -> Operation:
    after = frozenset((name, value) for name in names or ("a",))
    return Operation(
        f"put {value}", began, ended, effect=lambda _: after, values=frozenset({value})
    )


def post(value: str, began: float, ended: float = math.inf, name: str = "a") -> Operation:
    def effect(before: State) -> State:
        return frozenset(each for each in before if each[0] != name) | {(name, value)}

    return Operation(f"post {value}", began, ended, effect=effect, values=frozenset({value}))


def delete(began: float, ended: float = math.inf) -> Operation:
    return Operation("delete", began, ended, effect=lambda _: NOTHING)


def read(saw: State, began: float, ended: float) -> Operation:
    return Operation("read", began, ended, saw=saw)


ACCEPTED = {
    "nothing happened": [read(NOTHING, 0, 1)],
    "one after the other": [put("1", 0, 1), read(state(a="1"), 2, 3)],
    "a read under way sees a write or not": [
        put("1", 0, 9),
        read(NOTHING, 1, 2),
        read(state(a="1"), 3, 4),
    ],
    "of two writes under way either may be the last": [
        put("1", 0, 9),
        put("2", 0, 9),
        read(state(a="1"), 10, 11),
    ],
    "two readers see two writes in one order": [
        put("1", 0, 9),
        put("2", 0, 9),
        read(state(a="2"), 1, 3),
        read(state(a="1"), 4, 5),
    ],
    "families of two pushes": [
        put("1", 0, 1),
        post("2", 2, 3, "b"),
        read(state(a="1", b="2"), 4, 5),
    ],
    "an unknown push never happened": [put("1", 0, 1), put("2", 2), read(state(a="1"), 9, 10)],
    "an unknown push happened late": [
        put("1", 0, 1),
        put("2", 2),
        read(state(a="1"), 9, 10),
        read(state(a="2"), 11, 12),
    ],
    "an unknown delete happened": [put("1", 0, 1), delete(2), read(NOTHING, 5, 6)],
    "an unknown push that nobody saw has removed a family": [
        put("1", 0, 1, "a", "b"),
        put("2", 2, math.inf, "a"),
        post("3", 4, 5),
        read(state(a="3"), 6, 7),
    ],
}

REFUSED = {
    "an acknowledged push is lost": [put("1", 0, 1), read(NOTHING, 2, 3)],
    "a read is behind an acknowledgement": [
        put("1", 0, 1),
        put("2", 2, 3),
        read(state(a="1"), 4, 5),
    ],
    "time runs backwards": [
        put("1", 0, 1),
        put("2", 2, 9),
        read(state(a="2"), 3, 4),
        read(state(a="1"), 5, 6),
    ],
    "a value was never written": [put("1", 0, 1), read(state(a="7"), 2, 3)],
    "a value comes before its push": [read(state(a="1"), 0, 1), put("1", 2, 3)],
    "a push is torn": [put("1", 0, 1, "a", "b"), read(state(a="1"), 2, 3)],
    "an acknowledged delete did nothing": [
        put("1", 0, 1),
        delete(2, 3),
        read(state(a="1"), 4, 5),
    ],
    "a family that was not pushed is gone": [
        put("1", 0, 1),
        post("2", 2, 3, "b"),
        read(state(b="2"), 4, 5),
    ],
    "an unknown push happened twice": [
        put("1", 0),
        read(state(a="1"), 1, 2),
        put("2", 3, 4),
        read(state(a="2"), 5, 6),
        read(state(a="1"), 7, 8),
    ],
}


@pytest.mark.parametrize("history", ACCEPTED.values(), ids=ACCEPTED)
def test_accepts(history):
    assert violation(history) is None


@pytest.mark.parametrize("history", REFUSED.values(), ids=REFUSED)
def test_refuses(history):
    assert violation(history) is not None


def simulated(seed: int) -> list[Operation]:
    """A history of a real register: each operation takes place at one moment within its time."""
    choose = random.Random(seed)
    moments = sorted(choose.uniform(0, 100) for _ in range(300))
    history, held = [], NOTHING
    for number, moment in enumerate(moments):
        began, ended = moment - choose.expovariate(2), moment + choose.expovariate(2)
        is_unknown, value = choose.random() < 0.1, str(number)
        write = choose.choice([
            put(value, began, ended, "a", "b"),
            post(value, began, ended, choose.choice("ab")),
            delete(began, ended),
            None,
            None,
        ])  # fmt: skip
        if write is None or write.effect is None:
            history.append(read(held, began, ended))
            continue
        if is_unknown:
            write = Operation(write.name, began, effect=write.effect, values=write.values)
        if not (is_unknown and choose.random() < 0.5):
            held = write.effect(held)
        history.append(write)
    return history


@pytest.mark.parametrize("seed", range(10))
def test_accepts_every_history_of_a_real_register(seed):
    assert violation(simulated(seed)) is None


@pytest.mark.parametrize("seed", range(10))
def test_finds_a_read_that_came_too_late(seed):
    history = simulated(seed)
    reads = [each for each in history if each.effect is None and len(each.saw or ()) == 2]
    old, new = reads[0], reads[-1]
    assert old.saw != new.saw
    history[history.index(new)] = read(old.saw, new.began, new.ended)
    assert violation(history) is not None
