"""What only protobuf can push, against the store's checks and in expositions."""

import pytest

from pushgate.errors import InconsistentPush
from pushgate.formats.protobuf.reader import decode
from pushgate.model.grouping import GroupingKey
from pushgate.model.names import Escaping
from pushgate.server.store.change import Replace
from pushgate.server.store.store import Store
from tests.formats.protobuf.bodies import body, family
from tests.layouts import render

KEY = GroupingKey([("job", "j")])
LABELS = 'label:{name:"instance" value:""} label:{name:"job" value:"j"}'


def refusal(*families) -> str:
    with pytest.raises(InconsistentPush) as refused:
        Store().admit(Replace(KEY, decode(body(*families)), 1))
    return str(refused.value)


def exposed(*families) -> bytes:
    pushed = decode(body(*families))
    return b"".join(render(pushed.shape, [KEY], [pushed.numbers], Escaping.ALLOW_UTF8))


def test_an_error_shows_all_that_a_metric_says():
    large = 2**53 + 1
    histogram = {"sample_count": large, "zero_count": large, "schema": 3}
    twice = [{"histogram": {"sample_count": 1}}, {"histogram": histogram}]
    assert refusal(family(name=b"g", type=1), family(name=b"h", type=4, metric=twice)) == (
        f'collected metric "h" {{ {LABELS} histogram:{{sample_count:9007199254740993 schema:3 '
        "zero_count:9007199254740993}} was collected before with the same name and label values"
    )


def test_a_metric_of_the_wrong_type_is_refused_and_makes_no_duplicate_of_the_next():
    metrics = [{"gauge": {"value": 1}}, {"counter": {"value": 2}}]
    assert refusal(family(name=b"c", metric=metrics)) == (
        f'collected metric "c" {{ {LABELS} gauge:{{value:1}}}} is not a COUNTER'
    )


def test_a_name_is_quoted_as_go_does():
    twice = [{"counter": {"value": 1}}, {"counter": {"value": 1}}]
    assert refusal(family(name=b'\xff"', metric=twice)).startswith(r'collected metric "\xff\"" { ')


@pytest.mark.parametrize(
    ("name", "start"),
    [
        (b"\xff", b"_{"),
        (b"\xfe0", b"_0{"),
        (b"\xff\n", b"__{"),
        (b'="\xfe0"', b"___0_{"),
        (b"%b", b'{"%b",'),
    ],
)
def test_a_name_of_any_bytes_can_be_exposed_as_utf8(name, start):
    metrics = [{"gauge": {"value": 5}}]
    one, other = (
        family(name=name, type=1, metric=metrics),
        family(name=b"o", type=1, metric=metrics),
    )
    rest = b'instance="",job="j"} 5\n'
    assert exposed(one, other) == start + rest + b"o{" + rest


def test_a_quantile_of_minus_zero_is_exposed_as_zero():
    summary = {"quantile": [{"quantile": -0.0, "value": -0.0}]}
    lines = exposed(family(name=b"s", type=2, metric=[{"summary": summary}])).splitlines()
    assert lines[0] == b's{instance="",job="j",quantile="0"} 0'
