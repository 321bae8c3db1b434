import math
import random
from bisect import bisect_left, bisect_right

import pytest
from hypothesis import given, strategies as st

from pushgate.server.quantiles import Window

RANKS = (0.1, 0.5, 0.9)
ALLOWED = (0.01, 0.05, 0.01)


class SlowWindow:
    """Keeps every observation with its time: what a window must come close to."""

    def __init__(self, seconds, ages):
        self.ages, self.step, self.seen, self.until = ages, seconds / ages, [], -math.inf

    def observe(self, value, now):
        self.turn(now)
        self.seen.append((value, self.until))

    def values(self, now):
        self.turn(now)
        return sorted(value for value, until in self.seen if self.until - until < self.reach)

    @property
    def reach(self):
        return self.ages * self.step - self.step / 2

    def turn(self, now):
        if now - self.until >= self.ages * self.step:
            self.until = now + self.step
        while now >= self.until:
            self.until += self.step


def exact(values, rank):
    return values[max(1, math.ceil(rank * len(values))) - 1] if values else math.nan


OBSERVATIONS = st.lists(
    st.tuples(st.integers(0, 50), st.sampled_from([0, 1, 7, 30, 59, 60, 119, 250, 299, 300, 900]))
)


@given(observations=OBSERVATIONS, pause=st.integers(0, 700))
def test_quantiles_of_few_observations_are_exact(observations, pause):
    window, slow, now = Window(300, 5), SlowWindow(300, 5), 1000
    for value, later in observations:
        now += later
        window.observe([value], now)
        slow.observe(value, now)
    now += pause
    values = slow.values(now)
    expected = [exact(values, rank) for rank in RANKS]
    assert window.quantiles(RANKS, now) == pytest.approx(expected, abs=0, nan_ok=True)
    assert window.count == len(observations)
    assert window.sum == sum(value for value, _ in observations)


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng, _: rng.random(),
        lambda rng, _: rng.lognormvariate(0, 2),
        lambda rng, _: rng.randrange(5),
        lambda _, index: index,
        lambda _, index: -index,
        lambda _, index: index % 2,
        lambda rng, index: index % 997 + rng.random(),
    ],
    ids=["uniform", "heavy-tailed", "ties", "rising", "falling", "alternating", "periodic"],
)
@pytest.mark.parametrize("count", [3_000, 100_000])
def test_quantiles_of_many_observations_are_within_their_errors(draw, count):
    rng, window, slow = random.Random(count), Window(600, 5), SlowWindow(600, 5)
    for index in range(count):
        now = index * 1000 / count
        value = draw(rng, index)
        window.observe([value], now)
        slow.observe(value, now)
    values = slow.values(1000)
    found = window.quantiles(RANKS, 1000)
    assert all(off(values, v, r) <= e for v, r, e in zip(found, RANKS, ALLOWED, strict=True))


def off(values, value, rank):
    """How far the ranks of *value* among *values* are from *rank*."""
    lowest = bisect_left(values, value) / len(values)
    highest = bisect_right(values, value) / len(values)
    return max(lowest - rank, rank - highest, 0)


def test_observations_are_forgotten_after_the_window():
    window = Window(600, 5)
    window.observe([1], 0)
    window.observe([2], 300)
    assert window.quantiles([0.1, 0.9], 590) == [1, 2]
    assert window.quantiles([0.1, 0.9], 601) == [2, 2]
    assert all(map(math.isnan, window.quantiles([0.1, 0.9], 1000)))
    assert (window.count, window.sum) == (2, 3)


def test_a_window_of_millions_stays_small():
    window = Window(600, 5)
    for index in range(300_000):
        window.observe([index], index / 500)
    assert sum(map(len, window._levels)) + sum(map(len, window._closed)) < 12_000
