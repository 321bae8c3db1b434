"""Layouts: complete labels under a grouping key, and the text of a group."""

import pytest
from hypothesis import given, strategies as st

from pushgate.model.family import FamilyShape, MetricType
from pushgate.model.grouping import GroupingKey
from pushgate.model.layout import header, sanitised
from pushgate.model.names import Escaping, escape
from pushgate.model.quoting import raw, text
from pushgate.model.shape import interned
from pushgate.model.slices import finished
from tests.layouts import render, violations

JOB = GroupingKey([("job", "j")])


def family(*labels: dict[str, str], name: str = "m", kind: MetricType = MetricType.GAUGE):
    pairs = tuple(tuple(sorted(one.items())) for one in labels)
    return FamilyShape(name, kind, None, pairs, () if kind.is_simple else ((),) * len(pairs))


def rendered(
    *families: FamilyShape,
    key: GroupingKey = JOB,
    numbers: bytes = b"",
    escaping: Escaping = Escaping.UNDERSCORES,
) -> str:
    shape = interned(families)
    numbers = numbers or b" ".join(b"%d" % i for i in range(1, shape.series + 1))
    return text(b"".join(render(shape, [key], [numbers], escaping)))


def slow_rendered(one: FamilyShape, key: GroupingKey) -> str:
    """Return the text of a simple family whose numbers are 1, 2, 3..., the plain way."""
    metrics = [
        (dict(labels) | dict(key.labels), number) for number, labels in enumerate(one.labels, 1)
    ]
    rows = [
        (sorted({"instance": "", **labels}.items(), key=lambda p: raw(p[0])), number)
        for labels, number in metrics
    ]
    rows.sort(key=lambda row: (len(row[0]), [raw(value) for _, value in row[0]]))
    lines = []
    for labels, number in rows:
        pairs = [
            f'{name}="%s"' % value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
            for name, value in labels
        ]
        lines.append(f"{one.name}{{{','.join(pairs)}}} {number}\n")
    return "".join(lines)


@pytest.mark.parametrize(
    ("group", "pushed", "stored"),
    [
        ({"job": "j"}, {}, {"instance": "", "job": "j"}),
        ({"job": "j"}, {"instance": "x", "job": "y"}, {"instance": "x", "job": "j"}),
        (
            {"instance": "i", "job": "j"},
            {"instance": "x", "job": "y", "z": "w"},
            {"instance": "i", "job": "j", "z": "w"},
        ),
        (
            {"aa": "2", "job": "b", "zz": "1"},
            {"mm": "3", "Z": "0", "_u": "1", "job": "q"},
            {"Z": "0", "_u": "1", "aa": "2", "instance": "", "job": "b", "mm": "3", "zz": "1"},
        ),
    ],
)
def test_labels_are_sanitised(group, pushed, stored):
    complete = sanitised(tuple(sorted(pushed.items())), GroupingKey(group.items()).labels)
    assert list(complete) == list(stored.items())


def test_metrics_are_ordered_by_number_of_labels_then_by_values():
    metrics = [
        {"a": "1"},
        {"a": "1", "b": "1"},
        {"a": "10"},
        {"a": "2"},
        {},
        {"z": "0"},
        {"B": "0"},
    ]
    key = GroupingKey([("job", "b")])
    order = [line.split("}")[0] + "}" for line in rendered(family(*metrics), key=key).splitlines()]
    assert order == [
        'm{instance="",job="b"}',
        'm{instance="",job="b",z="0"}',
        'm{B="0",instance="",job="b"}',
        'm{a="1",instance="",job="b"}',
        'm{a="10",instance="",job="b"}',
        'm{a="2",instance="",job="b"}',
        'm{a="1",b="1",instance="",job="b"}',
    ]


values = st.text(st.sampled_from('ab%"\\\n\0é\U0001f60a0A s'), max_size=4)
label_sets = st.dictionaries(
    st.sampled_from(["a", "b", "instance", "job", "Z"]), values, max_size=3
)


@given(
    st.lists(label_sets, min_size=1, max_size=5),
    st.dictionaries(st.sampled_from(["a", "c", "instance", "_"]), values),
    values,
)
def test_a_group_is_rendered_like_the_slow_twin_does(metrics, grouping, job):
    key = GroupingKey((grouping | {"job": job}).items())
    one = family(*metrics)
    if violations(interned((one,)), key):  # two metrics are one: not stored
        return
    assert rendered(one, key=key) == slow_rendered(one, key)


def test_one_layout_serves_all_groups_with_the_same_label_names():
    shape = interned((family({"a": "1"}, {"a": "2"}),))
    assert shape.layout(JOB) is shape.layout(GroupingKey([("job", "other")]))


def test_more_grouping_labels_than_marks():
    key = GroupingKey([("job", "j"), *((f"l{i:02d}", f"%{i}") for i in range(40))])
    assert rendered(family({}), key=key) == slow_rendered(family({}), key)


@pytest.mark.parametrize("value", ["%", "%b%%", "%(a)s", "\0", "\\n\"'", "ÿ", "þ0", "{}"])
def test_values_are_shown_as_they_are(value):
    one = family({"a": value})
    key = GroupingKey([("job", value)])
    assert rendered(one, key=key) == slow_rendered(one, key)


def complaints(
    *labels: dict[str, str], kind: MetricType = MetricType.GAUGE, key: GroupingKey = JOB
):
    shape = interned((family(*labels, kind=kind),))
    return [violation.complaint for violation in violations(shape, key)]


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        ({"": "x"}, "has two or more labels with the same name: "),
        ({"__a": "x"}, "has a label with an invalid name: __a"),
        ({"a\udcff": "x"}, "has a label with an invalid name: a\udcff"),
        ({"a": "\udcff"}, r'has a label named "a" whose value is not utf8: "\xff"'),
    ],
)
def test_bad_labels(labels, complaint):
    assert complaints(labels) == [complaint]


def test_a_label_named_twice():
    shape = interned((FamilyShape("m", MetricType.GAUGE, None, ((("a", "1"), ("a", "2")),)),))
    (violation,) = violations(shape, JOB)
    assert violation.complaint == "has two or more labels with the same name: a"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (MetricType.SUMMARY, "quantile"),
        (MetricType.HISTOGRAM, "le"),
        (MetricType.GAUGE_HISTOGRAM, "le"),
    ],
)
def test_the_label_that_an_exposition_adds_may_not_be_pushed(kind, name):
    explicit = [f'must not have an explicit "{name}" label']
    assert complaints({name: "1"}, kind=kind) == explicit
    assert complaints({name: ""}, kind=kind) == explicit
    assert complaints({}, kind=kind, key=GroupingKey([("job", "j"), (name, "")])) == explicit
    assert complaints({"quantile": "1"}) == complaints({"le": "1"}, kind=MetricType.SUMMARY) == []


@pytest.mark.parametrize(
    ("label", "other"),
    [
        ("a.b", "a_b"),
        ("a.b", "a_dot_b"),
        ("a.b", "U__a_2e_b"),
        ("a.b", "a-b"),
        ("..name..", "x"),
        ("énameé", "x"),
    ],
)
def test_label_names_that_escaping_makes_one_are_refused(label, other):
    assert complaints({label: "1", other: "2"})[0].startswith(
        "has labels that escaping makes one: "
    )
    assert complaints({label: "1"}, key=GroupingKey([("job", "j"), (other, "")]))[0].startswith(
        "has la"
    )
    assert complaints({"日本": "1", "a.b": "2", "a.c": "3"}) == []


def test_metrics_that_the_grouping_key_makes_equal():
    duplicate = "was collected before with the same name and label values"
    assert complaints({"job": "a"}, {"job": "b"}) == [duplicate]
    assert complaints({"a": "1"}, {"a": "1"}, {"a": "1"}) == [duplicate] * 2
    assert complaints({"a": "1"}, {}, key=GroupingKey([("job", "j"), ("a", "1")])) == [duplicate]


def test_a_value_that_looks_like_a_mark_is_refused():
    mark = text(b"\xfe0")
    assert complaints({"a": mark}) == [r'has a label named "a" whose value is not utf8: "\xfe0"']
    assert complaints({"job": mark}) == []


@pytest.mark.parametrize("escaping", Escaping)
def test_names_that_are_not_legacy(escaping):
    one = family({"x.y": "1", "x:y": "2"}, name="a.b")
    name, label = escape("a.b", escaping), escape("x.y", escaping)
    expected = f'{name}{{instance="",job="j",{label}="1",x:y="2"}} 1\n'
    if escaping is Escaping.ALLOW_UTF8:
        expected = '{"a.b",instance="",job="j","x.y"="1",x:y="2"} 1\n'
    assert rendered(one, escaping=escaping) == expected


def test_a_histogram_gets_the_bucket_it_lacks():
    with_infinity = FamilyShape("h", MetricType.HISTOGRAM, None, ((),), (("1", "+Inf"),))
    without = FamilyShape("h", MetricType.GAUGE_HISTOGRAM, None, ((),), (("1",),))
    expected = (
        'h_bucket{instance="",job="j",le="1"} 1\n'
        'h_bucket{instance="",job="j",le="+Inf"} 3\n'
        'h_sum{instance="",job="j"} 2\n'
        'h_count{instance="",job="j"} 3\n'
    )
    assert rendered(without) == expected
    assert rendered(with_infinity, numbers=b"1 3 2 3") == expected


def test_a_summary():
    one = FamilyShape("my.s", MetricType.SUMMARY, None, ((),), (("0.5",),))
    assert rendered(one, escaping=Escaping.ALLOW_UTF8) == (
        '{"my.s",instance="",job="j",quantile="0.5"} 1\n'
        '{"my.s_sum",instance="",job="j"} 2\n'
        '{"my.s_count",instance="",job="j"} 3\n'
    )


def test_negative_zero_is_shown_as_zero():
    assert rendered(family({}, {"a": "1"}), numbers=b"-0 -0.5").split()[1::2] == ["0", "-0.5"]


def test_headers():
    one = FamilyShape("a.b", MetricType.GAUGE_HISTOGRAM, 'x\\\n"', ())
    assert header(one, Escaping.ALLOW_UTF8) == (b'# HELP "a.b" x\\\\\\n"\n# TYPE "a.b" histogram\n')
    one = one._replace(help="")
    assert header(one, Escaping.DOTS) == b"# HELP a_dot_b \n# TYPE a_dot_b histogram\n"
    one = one._replace(help=None)
    assert header(one, Escaping.UNDERSCORES) == b"# TYPE a_b histogram\n"


@pytest.mark.parametrize(
    ("escaping", "name"), [(Escaping.DOTS, "a_dot_b"), (Escaping.VALUES, "U__a_2e_b")]
)
def test_suffixes_are_appended_to_the_escaped_name(escaping, name):
    one = family({}, name="a.b", kind=MetricType.HISTOGRAM)
    lines = rendered(one, numbers=b"3 1", escaping=escaping).splitlines()
    assert [line.partition("{")[0] for line in lines] == [
        f"{name}_bucket",
        f"{name}_sum",
        f"{name}_count",
    ]


def test_a_family_name_may_be_any_bytes():
    """Protobuf says nothing about names: one must not spoil the text of others."""
    odd = [family({}, name=text(name)) for name in (b"a\xff", b"b\xfe0", b'c="\xfe0"\n', b"%d")]
    lines = rendered(*odd, escaping=Escaping.ALLOW_UTF8).splitlines()
    end = '{instance="",job="j"}'
    quoted = '{"%d",instance="",job="j"}'
    assert lines == [f"a_{end} 1", f"b_0{end} 2", f"c___0__{end} 3", f"{quoted} 4"]


def test_a_help_that_is_not_utf8_is_made_legible():
    odd = FamilyShape("a", MetricType.GAUGE, text(b"caf\xe9\n"), ((),))
    head = header(odd, Escaping.UNDERSCORES)
    assert head.decode().splitlines()[0] == "# HELP a caf\ufffd\\n"


def test_many_groups_at_once_are_each_group_after_the_other():
    shape = interned((family({"a": "1"}, {"a": "2"}, name="m"), family({}, name="n")))
    keys = [GroupingKey([("job", job), ("x", x)]) for job in "ab" for x in ("", "%s", '"\n', "1")]
    numbers = [b"%d -0 NaN" % i for i in range(len(keys))]
    together = render(shape, keys, numbers)
    alone = [render(shape, [key], [line]) for key, line in zip(keys, numbers, strict=True)]
    assert together == [b"".join(column) for column in zip(*alone, strict=True)]


@pytest.mark.parametrize(
    ("name", "label", "group", "is_shared"),
    [
        ("m", "l", "job", True),
        ("a.b", "l", "job", False),
        ("m", "a.b", "job", False),
        ("m", "l", "a.b", False),
    ],
)
def test_escaping_schemes_share_a_template_if_all_names_are_plain(name, label, group, is_shared):
    key = GroupingKey({"job": "j", group: "j"}.items())
    layout = interned((family({label: "1"}, name=name),)).layout(key)
    templates = [finished(layout.templating(escaping)) for escaping in Escaping]
    assert all(template is templates[0] for template in templates) == is_shared
