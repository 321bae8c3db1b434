"""Builds the server from its settings; no other module knows how the parts fit together."""

import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TypeVar

from pushgate.errors import NotWritable, StartupError
from pushgate.formats.decoder import PushDecoder
from pushgate.formats.limits import BodyLimits
from pushgate.server.access.live import LiveConfig
from pushgate.server.app import App
from pushgate.server.exposition.cache import Expositions
from pushgate.server.http.context import AppContext
from pushgate.server.http.push import PushService
from pushgate.server.http.renderings import Renderings
from pushgate.server.http.slow_readers import SlowReaders
from pushgate.server.rules import LiveRules
from pushgate.server.settings import Settings
from pushgate.server.storage.journal import Journal
from pushgate.server.storage.lock import FileLock
from pushgate.server.store.bounds import Bounds
from pushgate.server.store.expiry import Expiry
from pushgate.server.store.gateway import Gateway
from pushgate.server.store.rules import Rule
from pushgate.server.store.store import Store
from pushgate.server.telemetry import Telemetry

_log = logging.getLogger(__name__)

_T = TypeVar("_T")


def lock_persistence(settings: Settings) -> FileLock | None:
    """Return the right to the persistence file; None if metrics are only kept in memory.

    Raises:
        StartupError: the file is in use, or cannot be used.
    """
    if not settings.persistence_file or settings.persistence_url:
        return None
    # Here and below, so that a server that keeps metrics in memory does not hold SQLite there too.
    from pushgate.server.storage.opening import lock_file

    try:
        return lock_file(Path(settings.persistence_file), settings.persistence_wait / 1e9)
    except NotWritable as error:
        if "persistence_file" in settings.given:
            raise
        _log.warning(
            "metrics are kept only in memory and lost at the next stop; name a file that "
            "can be written with --persistence.file",
            extra={"err": str(error).partition("; ")[0]},
        )
        return None


def compose(
    settings: Settings,
    *,
    lock: FileLock | None = None,
    journal: Journal | None = None,
    quit: Callable[[], None] = lambda: None,  # noqa: A002 - the route is called so
) -> App:
    """Return the server that *settings* describe, with what its persistence file holds.

    Start ``context.gateway`` in the event loop that serves the application, and close it there.

    Args:
        settings: what the operator chose. Listening on its addresses is up to the caller.
        lock: the right to the persistence file; without it, metrics are only in memory.
        journal: an empty journal to use instead of the persistence file.
        quit: called when a request asks the process to stop.

    Raises:
        StartupError: a file cannot be used; one line that says which, and what to do.
    """
    # What the operator can get wrong comes first, before the journal is opened.
    live = _read("web.config.file", settings.web_config_file, LiveConfig)
    default = Rule(ttl=settings.push_ttl, forget_after=settings.push_forget_after)
    live_rules = _read(
        "push.rules-file", settings.push_rules_file, partial(LiveRules, default=default)
    )
    telemetry = Telemetry()
    bounds = Bounds(**_limits(settings, Bounds._fields))
    store = Store(telemetry.own, bounds, live_rules.rules)
    journal = _open_storage(settings, lock, store, telemetry) or journal
    gateway = Gateway(store, journal, settings.persistence_max_staleness / 1e9)
    expiry = Expiry(gateway)
    limits = BodyLimits(**_limits(settings, BodyLimits._fields))
    decoder = PushDecoder(settings.name_rule, limits)
    context = AppContext(
        settings=settings,
        gateway=gateway,
        expiry=expiry,
        live_rules=live_rules,
        pushes=PushService(settings, gateway, expiry, telemetry, decoder),
        slow_readers=SlowReaders(settings.limit_held_bytes),
        expositions=Expositions(store, telemetry),
        renderings=Renderings(),
        telemetry=telemetry,
        live=live,
        started=time.time_ns(),
        quit=quit,
    )
    _show(context, decoder)
    return App(context)


def _limits(settings: Settings, names: Iterable[str]) -> dict[str, int]:
    return {name: getattr(settings, f"limit_{name}") for name in names}


def _read(flag: str, file: str, read: Callable[[Path | None], _T]) -> _T:
    """Return what *read* makes of *file*; its errors name the *flag* that gave it."""
    try:
        return read(Path(file) if file else None)
    except StartupError as error:
        raise StartupError(f"--{flag}={file}: {error}") from error


def _open_storage(
    settings: Settings, lock: FileLock | None, store: Store, telemetry: Telemetry
) -> Journal | None:
    """Open the file or the database, and load what it holds into *store*; None without either."""
    journal: Journal
    if lock is not None:
        from pushgate.server.storage.opening import open_journal

        path, reset = Path(settings.persistence_file), settings.persistence_reset_damaged
        file, contents = open_journal(path, lock, reset_damaged=reset)
        telemetry.show(
            "pushgate_journal_checkpoint_failures_total",
            "Checkpoints of the journal that failed.",
            lambda: file.tidy_failures,
        )
        journal = file
    elif settings.persistence_url:
        from pushgate.server.storage.opening import open_database

        database, contents = open_database(settings.persistence_url)
        telemetry.show(
            "pushgate_storage_losses_total",
            "Times the database lacked changes that this server had seen.",
            lambda: database.losses,
        )
        journal = database
    else:
        return None
    store.load(*contents)
    return journal


def _show(context: AppContext, decoder: PushDecoder) -> None:
    """Show the state of the parts among the server's own metrics, read at each scrape."""
    settings, gateway, rules = context.settings, context.gateway, context.live_rules
    show = context.telemetry.show
    show("pushgate_groups", "Stored groups.", lambda: len(gateway.store))
    show("pushgate_series", "Stored series, without push times.", lambda: gateway.store.series)
    show("pushgate_limit_groups", "Limit of groups; 0 for none.", lambda: settings.limit_groups)
    show("pushgate_limit_series", "Limit of series; 0 for none.", lambda: settings.limit_series)
    show("pushgate_pushes_waiting", "Changes not yet durable.", lambda: gateway.waiting)
    show(
        "pushgate_journal_ready",
        "1 if the last write of the journal succeeded, and its database answers; else 0.",
        lambda: gateway.is_ready,
    )
    show(
        "pushgate_journal_failures_total",
        "Failed attempts to write or find the journal.",
        lambda: gateway.journal.failures,
    )
    show(
        "pushgate_storage_connected",
        "1 if the storage answers; 0 while metrics are shown from memory.",
        lambda: gateway.journal.is_connected,
    )
    show(
        "pushgate_storage_copy_age_seconds",
        "Seconds since the groups in memory were known to match the storage.",
        lambda: gateway.copy_age,
    )
    show(
        "pushgate_storage_turns_total",
        "Turns, each of which writes waiting changes together.",
        lambda: gateway.journal.turns,
    )
    show(
        "pushgate_storage_turn_seconds_total",
        "Seconds spent in turns, including the wait for other servers.",
        lambda: gateway.journal.turn_seconds,
    )
    show(
        "pushgate_storage_turn_changes_total",
        "Changes that were settled in turns.",
        lambda: gateway.journal.turn_changes,
    )
    show(
        "pushgate_storage_news_groups_total",
        "Groups that other servers changed.",
        lambda: gateway.news_groups,
    )
    show(
        "pushgate_storage_reloads_total",
        "Times everything was reloaded from the storage.",
        lambda: gateway.reloads,
    )
    show(
        "pushgate_shape_cache_bytes",
        "Bytes of memory for known shapes that no stored group has.",
        lambda: decoder.cache_bytes,
    )
    show(
        "pushgate_expired_groups_total",
        "Groups whose metrics were removed because of their age.",
        lambda: context.expiry.expired,
    )
    show(
        "pushgate_rules_valid",
        "1 if the current rules file is in force, else 0.",
        lambda: rules.error is None,
    )
    show(
        "pushgate_rules_reload_failures_total",
        "Times a changed rules file was invalid and not applied.",
        lambda: rules.failures,
    )
    show(
        "pushgate_web_config_reload_failures_total",
        "Times a changed web configuration was invalid and not applied.",
        lambda: context.live.failures,
    )
