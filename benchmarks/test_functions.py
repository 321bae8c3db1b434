"""The hot functions beside their slow twins: `make bench-functions`.

A group of the output is one body or one exposition; the twin of a test is the function that is
obvious, or what a client or another server would use.
"""

import gzip
import itertools
import random
from collections.abc import Callable
from functools import partial

import pytest

from pushgate.formats.encoding import Gzip
from pushgate.formats.protobuf.columns import read_columns
from pushgate.formats.protobuf.reader import ProtobufReader, decode
from pushgate.formats.slots import written_out
from pushgate.formats.text import TextReader, scan_leniently
from pushgate.model.grouping import GroupingKey
from pushgate.model.layout import label_values, layout_of, sanitised
from pushgate.model.names import Escaping, NameRule
from pushgate.model.numbers import go_float
from pushgate.server.http.request import parse_head
from pushgate.server.storage.codec import decode_shape, encode_shape
from pushgate.server.store.change import Replace
from pushgate.server.store.store import Store
from tests.formats.protobuf.bodies import body as protobuf_body, family, labels

KEY = GroupingKey([("job", "batch"), ("instance", "i000001")])
HELP = "Time the last run of the batch job spent in this stage, by step."


def text_body(run: str, families: int = 5) -> bytes:
    """Ten gauges in each family, as the load of `make bench`."""
    lines = []
    for number in range(families):
        name = f"batch_stage_{number:03d}_seconds"
        lines += [f"# HELP {name} {HELP}", f"# TYPE {name} gauge"]
        for step in range(10):
            value = random.randrange(10**5, 10**6)
            lines.append(f'{name}{{step="s{step:02d}",run="{run}"}} 0.{value}')
    return "\n".join([*lines, ""]).encode()


def histogram_body(run: str) -> bytes:
    lines = []
    for number in range(4):
        name = f"batch_latency_{number:03d}_seconds"
        lines += [f"# HELP {name} {HELP}", f"# TYPE {name} histogram"]
        for bucket in range(10):
            count = random.randrange(10**5)
            lines.append(f'{name}_bucket{{run="{run}",le="{0.005 * 2**bucket}"}} {count}')
        lines += [f'{name}_sum{{run="{run}"}} 0.5', f'{name}_count{{run="{run}"}} 7']
    return "\n".join([*lines, ""]).encode()


def wire_body(run: str) -> bytes:
    return protobuf_body(
        *(
            family(
                name=b"batch_stage_%03d_seconds" % number,
                help=HELP.encode(),
                type=1,
                metric=[
                    {
                        "label": labels(step=f"s{step:02d}", run=run),
                        "gauge": {"value": random.random()},
                    }
                    for step in range(10)
                ],
            )
            for number in range(5)
        )
    )


TEXTS = {
    "50 gauges": text_body,
    "1,000 gauges": lambda run: text_body(run, 100),
    "48 histogram samples": histogram_body,
}


def reading(benchmark, read: Callable, made: Callable[[str], bytes], *, known: bool) -> None:
    """Measures *read* of bodies with a known or a new label value each, after it has learned."""
    bodies = (made("00000000" if known else f"{number:08x}") for number in itertools.count())
    for body in itertools.islice(bodies, 8):
        read(body)
    benchmark.pedantic(read, setup=lambda: ((next(bodies),), {}), rounds=300)


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("way", ["known", "new labels", "columns", "scanner"])
def test_read_text(benchmark, monkeypatch, name, way):
    benchmark.group = f"read text: {name}"
    reader = TextReader(NameRule.LEGACY)
    read = reader.read
    if way == "scanner":
        read = partial(scan_leniently, names=NameRule.LEGACY)
    elif way == "columns":
        monkeypatch.setattr(reader, "_blanked", lambda _: None)
    reading(benchmark, read, TEXTS[name], known=way == "known")


@pytest.mark.parametrize("way", ["known", "new labels", "columns", "protobuf's"])
def test_read_protobuf(benchmark, way):
    benchmark.group = "read protobuf: 50 gauges"
    others = {"columns": partial(read_columns, most_series=10**9), "protobuf's": decode}
    read = others.get(way) or ProtobufReader().read
    reading(benchmark, read, wire_body, known=way == "known")


@pytest.mark.parametrize("way", ["at once", "one by one"])
def test_write_numbers(benchmark, way):
    benchmark.group = "write 50 numbers"
    numbers = [random.random() * 1000 for _ in range(50)]
    ways = {
        "at once": lambda: written_out(numbers),
        "one by one": lambda: " ".join(map(go_float, numbers)).encode(),
    }
    assert len({write() for write in ways.values()}) == 1
    benchmark(ways[way])


@pytest.mark.parametrize("way", ["layout known", "layout new", "line by line"])
def test_render_a_group(benchmark, way):
    benchmark.group = "render a group of 50 gauges"
    pushed = TextReader(NameRule.LEGACY).read(text_body("one"))
    families, numbers = pushed.shape.families, pushed.numbers

    def new():
        layout = layout_of(families, KEY, own_values=False)
        return rendered(layout)

    known = layout_of(families, KEY, own_values=False)

    def rendered(layout):
        rendering = layout.rendering([label_values(KEY)], [numbers], Escaping.UNDERSCORES)
        return b"".join(text for _, text in rendering)

    def line_by_line():
        tokens = iter(numbers.decode().split(" "))
        lines = []
        for one in families:
            for its in one.labels:
                pairs = ",".join(f'{n}="{v}"' for n, v in sanitised(its, KEY.labels))
                lines.append(f"{one.name}{{{pairs}}} {next(tokens)}\n")
        return "".join(lines).encode()

    ways = {
        "layout known": lambda: rendered(known),
        "layout new": new,
        "line by line": line_by_line,
    }
    assert len({render() for render in ways.values()}) == 1
    benchmark(ways[way])


@pytest.mark.parametrize("way", ["piece", "gzip -6"])
def test_compress(benchmark, way):
    benchmark.group = "compress 64 KiB of an exposition"
    plain = (text_body("one") * 40)[: 64 << 10]
    benchmark(
        {"piece": lambda: Gzip().piece(plain), "gzip -6": lambda: gzip.compress(plain, 6)}[way]
    )


@pytest.mark.parametrize("way", ["known", "new labels", "any push"])
def test_admit_a_push(benchmark, way):
    benchmark.group = "admit a push of 50 gauges"
    read, store = TextReader(NameRule.LEGACY).read, Store()
    made = {
        "known": lambda _: text_body("0"),
        "new labels": lambda number: text_body(f"{number:08x}"),
        "any push": lambda number: text_body("0", 4 + number % 2),
    }[way]
    pushes = (Replace(KEY, read(made(number)), 1) for number in itertools.count())
    store.apply(store.admit(next(pushes)))
    admit = store.admit if way == "any push" else store.admit_quickly
    assert benchmark.pedantic(admit, setup=lambda: ((next(pushes),), {}), rounds=300)


@pytest.mark.parametrize("way", ["looked up", "parsed"])
def test_know_a_head(benchmark, way):
    benchmark.group = "head of a push"
    head = (
        b"PUT /metrics/job/batch/instance/i000001 HTTP/1.1\r\nHost: 127.0.0.1:9091\r\n"
        b"Content-Type: text/plain; version=0.0.4\r\nContent-Length: 2915\r\n"
    )
    heads = {head: parse_head(head)}
    benchmark({"looked up": lambda: heads[bytes(head)], "parsed": lambda: parse_head(head)}[way])


def test_load_a_shape(benchmark):
    benchmark.group = "a shape of 50 gauges"
    shape = TextReader(NameRule.LEGACY).read(text_body("one")).shape
    encoded = encode_shape(1, shape)
    benchmark(lambda: decode_shape(1, encoded))
