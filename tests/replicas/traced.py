"""A replica that writes into each of its turns, in the same transaction, what was decided in it.

The table ``trace`` is then the one order of all changes, with their verdicts.
"""

import json
from collections.abc import Iterable
from itertools import chain
from typing import Any

from pushgate.server.storage.postgres import PostgresJournal
from pushgate.server.store.change import Change, Delete, Expire, Push
from pushgate.server.store.turns import Turns

TABLE = "CREATE TABLE trace (rev bigint PRIMARY KEY, entries text)"


def entry(change: Change, refusal: Exception | None) -> list[Any]:
    """Return the kind of *change*, whose it is, when it came, and what was wrong with it."""
    kind = type(change).__name__
    wrong = "" if refusal is None else type(refusal).__name__
    if isinstance(change, Push):
        number = str(int(float(change.pushed.numbers.split()[0])))
        return [kind, change.once.hex() or number, change.time, wrong]
    if isinstance(change, Delete):
        return [kind, dict(change.key.labels)["job"], 0, wrong]
    assert isinstance(change, Expire)
    return [kind, "", change.time, wrong]


def trace() -> None:
    """Let all journals of this process write their trace."""
    carry_out, commit = Turns._is_carried_out, PostgresJournal._commit

    def carried_out(self: Turns, turn: Any) -> bool:
        self._journal.turn = turn  # its batch may be renewed until it is appended
        return carry_out(self, turn)

    def traced_commit(self: PostgresJournal, place: Any, statements: Iterable[str]) -> None:
        entries = [entry(waiting.change, waiting.answer) for waiting in self.turn.batch]
        text = json.dumps(entries)
        assert "'" not in text
        insert = f"INSERT INTO trace VALUES ({place.rev}, '{text}')"
        # A turn that changes nothing leaves the last one as it was.
        commit(self, place, chain([insert] if place != self._seen else [], statements))

    Turns._is_carried_out = carried_out
    PostgresJournal._commit = traced_commit
