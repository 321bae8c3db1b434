"""Backups of a database that servers share: into a file, and from it."""

from pathlib import Path

from pushgate.errors import StartupError
from pushgate.server.storage.backup import Contents, copy_file
from pushgate.server.storage.failures import startup_error
from pushgate.server.storage.files import beside, sync_directory
from pushgate.server.storage.journal import TurnLost, replacing
from pushgate.server.storage.opening import new_journal
from pushgate.server.storage.postgres import PostgresJournal
from pushgate.server.store.group import Group


def copy_database(url: str, target: Path) -> Contents:
    """Write what the database *url* holds at this moment to the file *target*.

    Raises:
        StartupError: the database can't be read, or *target* can't be written.
    """
    journal = PostgresJournal(url)
    try:
        contents = Contents(journal.load(), journal.applied_keys())
    finally:
        journal.close()
    try:
        draft = new_journal(contents.groups, beside(target, ".incomplete"), contents.applied_keys)
        draft.replace(target)
        sync_directory(target.parent)
    except OSError as error:
        raise startup_error(target, error) from error
    return contents


def restore_database(backup: Path, url: str, folder: Path, *, replace: bool) -> Contents:
    """Make the database *url* hold what *backup* does. Servers that use it take it over.

    With *replace*, it may hold groups: they are replaced. *folder* is for temporary files.

    Raises:
        DamagedFile: *backup* is damaged.
        StartupError: the database holds groups, or can't be used.
        JournalFailed: it did not take them.
    """
    contents = copy_file(backup, folder / "backup")
    journal = PostgresJournal(url)
    try:
        present = {group.key.packed: group for group in journal.load()}
        while not _replaced(journal, present, contents, replace=replace):
            pass
    finally:
        journal.close()
    return contents


def _replaced(
    journal: PostgresJournal, present: dict[bytes, Group], contents: Contents, *, replace: bool
) -> bool:
    """Write *contents* in place of *present* in one turn; return whether there was one."""
    news = journal.begin()
    if news is not None:
        if news.is_all:
            present.clear()
        for key, group in news.groups:
            if group is None:
                present.pop(key, None)
            else:
                present[key] = group
        if not news.in_turn:
            return False
    if present and not replace:
        raise StartupError(
            f"the database {journal.name} holds groups: give --replace to put the backup in "
            "their place"
        )
    try:
        steps = replacing(present.values(), contents.groups)
        journal.write(steps, dict(contents.applied_keys), replace_keys=replace)
    except TurnLost:
        return False
    return True
