"""Whether what clients saw of one group fits some order: Wing and Gong's test of linearizability.

The history is walked from event to event. A *configuration* is a state that the group may have
by now, and which of the operations under way have led to it. When an operation returns, only
the configurations stay in which it took place; if none does, no order explains the history.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

State: TypeAlias = frozenset[tuple[Hashable, str]]
"""What a group shows: its series, and their values."""


@dataclass(frozen=True, eq=False, slots=True)
class Operation:
    """A write, which makes one state of another, or a read, which saw one.

    ``began`` and ``ended`` enclose its moment. A write that was never acknowledged has no end:
    it took place at any time since, or never does. ``values`` are those that only it has
    written.
    """

    name: str
    began: float
    ended: float = math.inf
    effect: Callable[[State], State] | None = None
    saw: State | None = None
    values: frozenset[str] = frozenset()


class _Configuration(NamedTuple):
    state: State
    done: frozenset[Operation]


class Violation(NamedTuple):
    """When ``operation`` ended, no order of what had begun was left; ``states`` were possible."""

    operation: Operation
    states: list[State]
    event: int


_NEARBY = 40
_UNSEEN = "?"


def violation(history: Iterable[Operation]) -> Violation | None:
    """Return where *history*, that of one group which was empty, fits no order; or None.

    That a write without an end took place although nobody has seen its values is considered
    only where the history can't be explained otherwise, and for one such write at a time.
    """
    history = _settled([*history])
    considered: set[int] = set()
    while (found := _walk(history, considered)) is not None and found.event not in considered:
        considered.update(range(found.event - _NEARBY, found.event + 1))
    return found


def _walk(history: Sequence[Operation], considered: set[int]) -> Violation | None:
    """Walk through *history*; at the events *considered* also take writes that have no end."""
    events = sorted(
        [(each.began, 0, number) for number, each in enumerate(history)]
        + [(each.ended, 1, number) for number, each in enumerate(history) if each.ended < math.inf]
    )
    under_way: list[Operation] = []
    endless: list[Operation] = []
    found = {_Configuration(frozenset(), frozenset())}
    for event, (_, is_end, number) in enumerate(events):
        operation = history[number]
        if not is_end:
            (under_way if operation.ended < math.inf else endless).append(operation)
            found = {_with_reads(each, [operation]) for each in found}
            continue
        before = found
        found = _until(operation, found, under_way, endless if event in considered else [])
        under_way.remove(operation)
        if not found:
            return Violation(operation, [each.state for each in before], event)
    return None


def _settled(history: Sequence[Operation]) -> list[Operation]:
    """Use what follows from the values that reads saw: each write has values of its own.

    A write without an end took place before a read that saw its values had ended. The values
    of writes that nobody saw need not be told apart.
    """
    seen: dict[str, float] = {}
    for read in history:
        for _, value in read.saw or ():
            seen[value] = min(seen.get(value, math.inf), read.ended)
    return [_settled_write(each, seen) if each.values else each for each in history]


def _settled_write(write: Operation, seen: Mapping[str, float]) -> Operation:
    ends = [seen[value] for value in write.values if value in seen]
    if ends:
        return replace(write, ended=min(write.ended, *ends))
    effect = write.effect
    assert effect is not None

    def blurred(state: State) -> State:
        return frozenset(
            (name, _UNSEEN if value in write.values else value) for name, value in effect(state)
        )

    return replace(write, effect=blurred)


def _until(
    last: Operation,
    found: set[_Configuration],
    under_way: Sequence[Operation],
    endless: Sequence[Operation],
) -> set[_Configuration]:
    """Return all configurations in which *last* took place, as the last of those under way."""
    reached: set[_Configuration] = set()
    known = {*found}
    work = [(each, True) for each in found]
    while work:
        at, may_take_endless = work.pop()
        if last in at.done:
            reached.add(at._replace(done=at.done - {last}))
            continue
        following = [(after, may_take_endless) for after in _successors(at, under_way, under_way)]
        if may_take_endless:
            # Of those that lead to the same state, any: they have no end.
            lead_to = {after.state: after for after in _successors(at, endless, under_way)}
            following += [(after, False) for after in lead_to.values()]
        work += [each for each in following if each[0] not in known]
        known.update(after for after, _ in following)
    return _undominated(reached)


def _successors(
    at: _Configuration, candidates: Iterable[Operation], under_way: Iterable[Operation]
) -> Iterable[_Configuration]:
    for write in candidates:
        if write.effect is not None and write not in at.done:
            after = _Configuration(write.effect(at.state), at.done | {write})
            yield _with_reads(after, under_way)


def _with_reads(at: _Configuration, operations: Iterable[Operation]) -> _Configuration:
    """Let all reads that saw this state take place now: later is never better."""
    matching = [each for each in operations if each.saw == at.state]
    return at._replace(done=at.done.union(matching)) if matching else at


def _undominated(found: set[_Configuration]) -> set[_Configuration]:
    """Leave out what can do nothing that another can't: it has used up more writes without end."""
    best: dict[tuple[State, frozenset[Operation]], list[frozenset[Operation]]] = {}
    for state, done in found:
        endless = frozenset(each for each in done if each.ended == math.inf)
        rivals = best.setdefault((state, done - endless), [])
        if not any(rival <= endless for rival in rivals):
            rivals[:] = [rival for rival in rivals if not endless <= rival] + [endless]
    return {
        _Configuration(state, done | endless)
        for (state, done), all_endless in best.items()
        for endless in all_endless
    }
