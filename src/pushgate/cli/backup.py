"""``pushgate backup``, ``check``, ``restore``, ``copy``: copies of everything a server stores."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pushgate.cli.messages import counted
from pushgate.cli.options import option, takes

if TYPE_CHECKING:
    from pushgate.server.storage.journal import Contents

_FILE = Path("data/pushgate.db")


@dataclass(kw_only=True, eq=False, repr=False)
class Storage:
    """Where a server keeps its metrics, under the names of its own flags."""

    persistence_file: Path | None = option(
        "--persistence.file",
        type=click.Path(path_type=Path),
        help=f"Persistence file of the server.  [default: {_FILE}]",
    )
    persistence_url: str = option(
        "--persistence.url",
        envvar="PUSHGATE_PERSISTENCE_URL",
        default="",
        show_envvar=True,
        help="PostgreSQL database of the server, instead of a file.",
    )

    def __post_init__(self) -> None:
        if self.persistence_url and self.persistence_file:
            raise click.UsageError(
                "--persistence.file is given, and a database by --persistence.url or "
                "PUSHGATE_PERSISTENCE_URL: leave one of them out"
            )
        self.file = self.persistence_file or _FILE


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@takes(storage=Storage)
def backup(file: Path, storage: Storage) -> None:
    """Write all groups of a server to FILE. The server may be running.

    FILE contains every push that was answered before the command began. Run it as the user
    that the server runs as.
    """
    from pushgate.server.storage.backup import copy_database, copy_file

    if storage.persistence_url:
        contents = copy_database(storage.persistence_url, file)
    else:
        contents = copy_file(storage.file, file)
    click.echo(f"{file}: {_summary(contents, file)}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Verify every record of FILE.

    FILE is a backup, or the persistence file of a server, which may be running.
    """
    from pushgate.server.storage.backup import check_file

    contents = check_file(file)
    click.echo(f"{file}: {_summary(contents, file)}")
    pushed_to = [group for group in contents.groups if group.pushed_at]
    if pushed_to:
        oldest = min(pushed_to, key=lambda group: group.pushed_at)
        # Stored times are Unix nanoseconds.
        pushed = datetime.fromtimestamp(oldest.pushed_at / 1e9, UTC)
        click.echo(f"oldest push: {pushed:%Y-%m-%dT%H:%M:%SZ}, {oldest.key}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Replace groups that are stored already.")
@takes(storage=Storage)
def restore(file: Path, storage: Storage, replace: bool) -> None:  # noqa: FBT001 - click's
    """Replace what a server stores by the backup FILE.

    Stop the server of a persistence file first; its old file is kept beside the new one.
    Servers with a database keep running, and show what was restored.
    """
    from pushgate.server.storage.backup import restore_database, restore_file

    if storage.persistence_url:
        contents = restore_database(file, storage.persistence_url, replace=replace)
    else:
        contents = restore_file(file, storage.file, replace=replace)
    click.echo(f"restored {_summary(contents, file)}")


@click.command("copy")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--replace", is_flag=True, help="Replace what TO holds; without, it must be empty.")
def copy(source: str, target: str, *, replace: bool) -> None:
    """Copy all groups from a file to a database, or back.

    FROM and TO are persistence files, or URLs of PostgreSQL databases such as
    postgresql://user@host/name; PGPASSWORD or ~/.pgpass keep the password out of the command
    line. Stop the servers of both first.
    """
    from pushgate.server.storage import backup

    contents = backup.copy(source, target, replace=replace)
    click.echo(f"copied {counted(len(contents.groups), 'group')} with {contents.series} series")


def _summary(contents: "Contents", file: Path) -> str:
    groups = counted(len(contents.groups), "group")
    return f"{groups}, {contents.series} series, {file.stat().st_size} bytes, undamaged"
