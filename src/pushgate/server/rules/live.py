"""The rules in force, and their replacement while the server runs."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from pushgate.errors import StartupError
from pushgate.server.access.config_file import content
from pushgate.server.polling import polls
from pushgate.server.rules.file import parse
from pushgate.server.store.rules import Rule, Rules

_log = logging.getLogger(__name__)


class LiveRules:
    """The last valid rules of a file.

    Only `watch` changes them, on the event loop. The file is read in a thread, so a slow disk
    delays no request.

    Attributes:
        rules: the rules.
        failures: how many times a changed file was not taken over because it is invalid.
        error: why the file, as it is now, is not in force; None if it is.

    Raises:
        StartupError: the file can't be used.
    """

    def __init__(self, path: Path | None, default: Rule = Rule()) -> None:  # noqa: B008 - frozen
        self._path = path
        self._default = default
        self._requested = asyncio.Event()
        self.failures = 0
        self.error: StartupError | None = None
        self._judged = self._seen = None if path is None else content(path)
        self.rules = Rules(() if self._judged is None else parse(self._judged), default)

    def request_reload(self) -> None:
        """Have `watch` read the file at once, as SIGHUP demands."""
        self._requested.set()

    async def watch(self, replace: Callable[[Rules], None]) -> None:
        """Follow the file until cancelled; *replace* gets each new set of rules."""
        if self._path is None:
            return
        async for is_requested in polls(self._requested):
            try:
                new = await self.poll(at_once=is_requested)
            except Exception:  # noqa: BLE001 - without the watch, no later change would be seen
                _log.exception("could not reload the rules")
                continue
            if new is not None:
                replace(new)

    async def poll(self, *, at_once: bool = False) -> Rules | None:
        """Return the rules if the file has new ones; log what is wrong with it otherwise.

        A file may be seen half written. So one that has changed counts when two polls in a row
        find the same, unless it is wanted *at_once*.
        """
        assert self._path is not None
        try:
            found = await self._content(self._path)
            if not at_once and (found == self._judged or found != self._seen):
                self._seen = found
                return None
            self._judged = self._seen = found
            rules = Rules(await asyncio.to_thread(parse, found), self._default)
        except StartupError as error:
            self._refuse(error)
            return None
        _log.info("rules reloaded", extra={"rules": len(rules.rules)})
        self.error = None
        self.rules = rules
        return rules

    async def _content(self, path: Path) -> bytes:
        try:
            return await asyncio.to_thread(content, path)
        except StartupError:
            self._judged = self._seen = None  # when it is back, it is judged anew
            raise

    def _refuse(self, error: StartupError) -> None:
        if str(error) == str(self.error):
            return
        self.error = error
        self.failures += 1
        _log.error(
            "the rules file is invalid; the last valid rules stay in force",
            extra={"file": str(self._path), "err": str(error)},
        )
