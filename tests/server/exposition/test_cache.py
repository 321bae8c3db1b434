"""Expositions made of kept pieces equal those of a slow twin that renders everything."""

import gzip
import zlib
from weakref import ref

import pytest
from hypothesis import given, settings, strategies as st

from pushgate.formats.encoding import Encoding, Gzip, Zstd
from pushgate.formats.negotiation import Accepted, Format
from pushgate.formats.zstd import zstd
from pushgate.model import layout as layout_module
from pushgate.model.family import FamilyShape, MetricType
from pushgate.model.layout import header
from pushgate.model.names import Escaping
from pushgate.model.quoting import raw
from pushgate.model.slices import finished
from pushgate.server.exposition import cache as module
from pushgate.server.exposition.cache import Exposition, Expositions
from pushgate.server.exposition.view import TIMES_SHAPE, TextView, times_numbers
from pushgate.server.store import visible as visible_module
from pushgate.server.store.change import Delete, Fail
from pushgate.server.store.store import Store
from pushgate.server.telemetry import Family, Sample, Telemetry
from tests.layouts import render
from tests.server.pushes import change, key, post, put, wipe

OWN = [
    Family(
        FamilyShape("m", MetricType.COUNTER, "Merged.", ()),
        [Sample("m", (), 7.0)],
    ),
    Family(
        FamilyShape("n_own", MetricType.GAUGE, "Own.", ()),
        [Sample("n_own", (("a", 'x"'),), 1e6), Sample("n_own", (), -0.0)],
    ),
]
ENCODINGS = [Encoding(), Gzip(), Zstd()]


def own() -> list[Family]:
    return OWN


def decoded(encoding, data: bytes) -> bytes:
    if encoding.token == "gzip":
        assert gzip.decompress(data) == zlib.decompress(data, 31)
        return gzip.decompress(data)
    return zstd.decompress(data) if encoding.token == "zstd" and data else data


def exposition(store: Store, encoding=ENCODINGS[0], families=own) -> Exposition:
    return Exposition(store, TextView(Escaping.UNDERSCORES), encoding, families)


def shown(one: Exposition, encoding=ENCODINGS[0]) -> str:
    return decoded(encoding, b"".join(finished(one.scrape()))).decode()


def slow_shown(store: Store, families=own) -> str:
    """Return the exposition of *store* made anew: a dictionary from name to text."""
    heads, metrics = {}, {}
    for one in families():
        heads[one.head.name] = header(one.head, Escaping.UNDERSCORES)
        metrics[one.head.name] = TextView(Escaping.UNDERSCORES).render_own(one)
    for group in store.groups():
        contents = [(TIMES_SHAPE, times_numbers(group))]
        contents += [
            (rest.shape, rest.numbers)
            for block in group.blocks
            if (rest := block.pushed.without(block.dropped))
        ]
        for shape, numbers in contents:
            parts = render(shape, [group.key], [numbers])
            for family, part in zip(shape.families, parts, strict=True):
                heads.setdefault(family.name, header(family, Escaping.UNDERSCORES))
                metrics[family.name] = metrics.get(family.name, b"") + part
    return b"".join(heads[name] + metrics[name] for name in sorted(heads, key=raw)).decode()


@pytest.fixture(autouse=True)
def small_runs(monkeypatch):
    """A few groups make many runs and pieces."""
    monkeypatch.setattr(visible_module, "_RUN", 4)
    monkeypatch.setattr(module, "_SMALL", 150)
    monkeypatch.setattr(module, "_JOINED_BYTES", 400)
    monkeypatch.setattr(layout_module, "MAX_LINES", 8)
    monkeypatch.setattr(TextView, "at_once", 4)


def filled(groups: int = 20) -> Store:
    store = Store()
    for i in range(groups):
        body = f"# HELP z from {i}\n# TYPE m counter\nm {i}\nz {i}\nA{i} 1\nm_{i % 3} 1\n"
        change(store, put(key(f"{i:03d}"), body, (i + 1) * 10**9))
    return store


def test_families_by_name_and_groups_by_key():
    store = Store()
    change(store, put(key("b"), "# HELP b from b\nb 1\nB 1\n", 2 * 10**9))
    change(store, put(key("a"), '# HELP b from a\nb{x="2"} 2\nb{x="1"} 3\n', 10**9))
    change(store, Fail(key("a"), 3 * 10**9))
    assert shown(exposition(store, families=list)) == (
        "# TYPE B untyped\n"
        'B{instance="",job="b"} 1\n'
        "# HELP b from a\n"
        "# TYPE b untyped\n"
        'b{instance="",job="a",x="1"} 3\n'
        'b{instance="",job="a",x="2"} 2\n'
        'b{instance="",job="b"} 1\n'
        "# HELP push_failure_time_seconds "
        "Last Unix time when changing this group in the Pushgateway failed.\n"
        "# TYPE push_failure_time_seconds gauge\n"
        'push_failure_time_seconds{instance="",job="a"} 3\n'
        'push_failure_time_seconds{instance="",job="b"} 0\n'
        "# HELP push_time_seconds "
        "Last Unix time when changing this group in the Pushgateway succeeded.\n"
        "# TYPE push_time_seconds gauge\n"
        'push_time_seconds{instance="",job="a"} 1\n'
        'push_time_seconds{instance="",job="b"} 2\n'
    )


def test_own_metrics_of_the_name_of_pushed_ones_come_first_with_their_help():
    store = Store()
    change(store, put(key("a"), "# HELP m pushed\n# TYPE m counter\nm 1\nn 1\nn_z 1\n"))
    assert shown(exposition(store)).split("# HELP push_")[0] == (
        "# HELP m Merged.\n"
        "# TYPE m counter\n"
        "m 7\n"
        'm{instance="",job="a"} 1\n'
        "# TYPE n untyped\n"
        'n{instance="",job="a"} 1\n'
        "# HELP n_own Own.\n"
        "# TYPE n_own gauge\n"
        'n_own{a="x\\""} 1e+06\n'
        "n_own 0\n"
        "# TYPE n_z untyped\n"
        'n_z{instance="",job="a"} 1\n'
    )


@pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda encoding: encoding.token)
@pytest.mark.parametrize("groups", [0, 1, 3, 100])
def test_all_encodings_say_the_same(encoding, groups):
    store = filled(groups)
    assert shown(exposition(store, encoding), encoding) == slow_shown(store)


def test_an_empty_store_without_own_metrics_shows_nothing():
    assert shown(exposition(Store(), families=list)) == ""


bodies = st.sampled_from(
    ["", "a 1\n", "# TYPE m counter\nm 1\nb 2\n", "n 1\nn_z 1\nzz 1\n", "a 2\n"]
)
keys = st.integers(0, 12).map(lambda number: key(f"{number:02d}"))
times = st.integers(1, 3).map(lambda seconds: seconds * 10**9)
changes = st.one_of(
    st.builds(put, keys, bodies, times),
    st.builds(post, keys, bodies, times),
    st.builds(Fail, keys, times),
    st.builds(Delete, keys),
    st.just(wipe),
)


@settings(max_examples=30)
@given(st.lists(st.lists(changes, max_size=12), max_size=4), st.sampled_from(ENCODINGS))
def test_kept_pieces_never_go_stale(batches, encoding):
    store = Store()
    kept = exposition(store, encoding)
    for batch in batches:
        for one in batch:
            change(store, one)
        assert shown(kept, encoding) == slow_shown(store) == shown(kept, encoding)


def test_own_metrics_may_come_and_go():
    store = filled(9)
    present = []
    kept = exposition(store, families=lambda: present)
    for families in ([], OWN, OWN[:1], OWN[1:], []):
        present[:] = families
        assert shown(kept) == slow_shown(store, lambda: present)


def test_only_runs_with_a_change_are_rendered_again():
    store = filled(100)
    rendered = []

    class Counting(TextView):
        def pieces(self, groups):
            rendered.extend(group.key.job for group in groups)
            return super().pieces(groups)

    kept = Exposition(store, Counting(Escaping.UNDERSCORES), Gzip(), own)
    finished(kept.scrape())
    assert len(rendered) == 100
    rendered.clear()
    finished(kept.scrape())
    assert rendered == []
    change(store, put(key("050"), "A50 2\n"))
    finished(kept.scrape())
    assert "050" in rendered
    assert len(rendered) <= 4


def test_what_is_kept_does_not_keep_groups_that_were_replaced():
    store = filled(40)
    kept = exposition(store)
    shown(kept)
    replaced = ref(store.get(key("020")))
    change(store, put(key("020"), "other 1\n"))
    assert replaced() is None


def test_a_scrape_shows_the_store_at_its_first_slice():
    store = filled(40)
    before = slow_shown(store)
    kept = exposition(store)
    scrape = kept.scrape()
    next(scrape)
    for i in range(0, 40, 3):
        change(store, Delete(key(f"{i:03d}")))
        change(store, put(key(f"{i:03d}b"), "zz 1\n"))
    assert b"".join(finished(scrape)).decode() == before
    assert shown(kept) == slow_shown(store)


def test_a_scrape_that_is_abandoned_leaves_no_trace():
    store = filled(40)
    kept = exposition(store)
    for slices in (1, 5, 9):
        scrape = kept.scrape()
        for _ in range(slices):
            next(scrape)
        scrape.close()
        change(store, put(key(f"x{slices}"), "zz 1\n"))
    assert shown(kept) == slow_shown(store)


def test_expositions_are_kept_in_the_six_kinds_asked_for_last():
    expositions = Expositions(Store(), Telemetry())
    kinds = [Accepted(format_, escaping) for format_ in Format for escaping in Escaping]

    def asked(some: list[Accepted], now: float) -> list[Exposition]:
        return [expositions.get(kind, ENCODINGS[0], now) for kind in some]

    kept = asked(kinds[:6], 1)
    assert asked(kinds[:6], 2) == kept
    asked(kinds[6:7], 3)
    assert asked(kinds[1:6], 4) == kept[1:]
    assert asked(kinds[:1], 4) != kept[:1]
    expositions.forget_unused(4)
    assert asked(kinds[1:6], 5) == kept[1:]
    expositions.forget_unused(6)
    assert not set(asked(kinds[:6], 7)) & set(kept)
