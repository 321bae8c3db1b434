"""Remembers by their idempotency keys which pushes have already been applied."""

from collections import OrderedDict
from collections.abc import Iterable

from pushgate.model.slices import PER_SLICE, Sliced, releasing

REMEMBERED = 3600 * 10**9
"""How long a key is remembered, in nanoseconds."""

_MAX_REMEMBERED = 1_000_000
# How many keys one push forgets: after an idle hour, there may be a million to forget.
_FORGOTTEN_AT_ONCE = 100


class AppliedKeys:
    """The keys of the pushes of the last hour, a million at most.

    It knows no clock: the time of the latest push counts as the present.
    """

    def __init__(self) -> None:
        self._times: OrderedDict[bytes, int] = OrderedDict()
        self._since = 0  # keys of earlier times are forgotten, even if they are still here

    def __contains__(self, key: bytes) -> bool:
        time = self._times.get(key)
        return time is not None and time >= self._since

    def __len__(self) -> int:
        return len(self._times)

    def add(self, key: bytes, time: int) -> None:
        """Remember *key*, which was applied at *time*, and forget keys that are too old then."""
        self._times[key] = time
        self._since = time - REMEMBERED
        # In the order of insertion, which is that of time unless the clock was set back: keys of a
        # far future would then keep all that follow.
        for _ in range(_FORGOTTEN_AT_ONCE):
            oldest = next(iter(self._times.values()))
            if len(self._times) <= _MAX_REMEMBERED and abs(time - oldest) <= REMEMBERED:
                break
            self._times.popitem(last=False)

    def remove(self, key: bytes) -> None:
        """Forget *key*: its push was withdrawn."""
        self._times.pop(key, None)

    def clear(self) -> Sliced[None]:
        yield from releasing(self._times)
        self._times.clear()

    def load(self, keys: Iterable[tuple[bytes, int]]) -> Sliced[None]:
        """Take over *keys* and their times, the oldest first."""
        for number, (key, time) in enumerate(keys):
            if number % PER_SLICE == 0:
                yield
            self.add(key, time)
