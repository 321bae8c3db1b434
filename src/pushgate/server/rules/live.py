"""The rules in force, and their replacement while the server runs."""

import asyncio
from pathlib import Path

from pushgate.server.live import LiveFiles, read_file
from pushgate.server.rules.file import parse
from pushgate.server.store.rules import Rule, Rules


class LiveRules(LiveFiles):
    """The last valid :attr:`rules` of a file; only *default* without one.

    Raises:
        StartupError: the file can't be used.
    """

    def __init__(self, path: Path | None, default: Rule = Rule()) -> None:  # noqa: B008 - frozen
        super().__init__((path,) if path else ())
        self._default = default
        self._text = read_file(path) if path else b""
        self.rules = Rules(parse(self._text) if path else (), default)

    async def _reload(self) -> bool:
        text = await asyncio.to_thread(read_file, self.files[0])
        if text == self._text:
            return False
        rules = await asyncio.to_thread(parse, text)
        self._text, self.rules = text, Rules(rules, self._default)
        return True
