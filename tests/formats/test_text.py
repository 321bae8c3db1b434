"""The text format: the reference's results and errors, and two speeds with one result."""

import base64
import json
import math
from pathlib import Path

import pytest
from hypothesis import example, given, strategies as st
from prometheus_client.parser import text_string_to_metric_families

from pushgate.errors import TextFormatError
from pushgate.formats import text as text_module
from pushgate.formats.relabeling import Relabeling
from pushgate.formats.scanner import scan
from pushgate.formats.text import TextReader
from pushgate.model.grouping import GroupingKey
from pushgate.model.layout import header
from pushgate.model.names import Escaping, NameRule
from pushgate.model.numbers import go_float
from pushgate.model.quoting import text
from pushgate.model.shape import Pushed, interned
from pushgate.model.slices import finished
from tests.examples import few_large_examples
from tests.layouts import render, violations

VECTORS = Path(__file__).parents[1] / "conformance" / "vectors.json"
JOB = GroupingKey([("job", "j")])


def rendered(pushed: Pushed, escaping: Escaping = Escaping.ALLOW_UTF8) -> bytes:
    """Return the exposition of *pushed* in the group ``{job="j"}``."""
    families = pushed.shape.families
    if not families:
        return b""
    metrics = render(pushed.shape, [JOB], [pushed.numbers], escaping)
    heads = [header(family, escaping) for family in families]
    return b"".join(head + lines for head, lines in zip(heads, metrics, strict=True))


def outcome(read, body: bytes):
    """Return what *read* makes of *body*: a push, or the text of its error."""
    try:
        return read(body)
    except TextFormatError as error:
        return str(error)


def content(found: Pushed | str):
    """Return what *found* says: shapes are equal if their families are."""
    return found if isinstance(found, str) else (found.shape.families, *found[1:])


def scanned(body: bytes, names: NameRule = NameRule.LEGACY):
    return outcome(lambda body: scan(body, names).pushed, body)


def as_left_by_editors(body: bytes, names: NameRule = NameRule.LEGACY):
    """Return what the scanner makes of *body* once it is tidied up."""
    tidy = body.replace(b"\r\n", b"\n").removeprefix(b"\xef\xbb\xbf")
    *before, last = [line.lstrip(b" \t") for line in tidy.split(b"\n")]
    if last.startswith(b"#") and all(not line or line.startswith(b"#") for line in before):
        found = scanned(tidy.removesuffix(last), names)
        end = f"text format parsing error in line {len(before) + 1}: unexpected end of input stream"
        return end if isinstance(found, Pushed) else found
    if tidy and not tidy.endswith(b"\n"):
        tidy += b"\n"
    found = scanned(tidy, names)
    if isinstance(found, Pushed):
        return found
    lines = [
        line if line.lstrip(b" \t").startswith(b"#") else line.rstrip(b" \t")
        for line in tidy.split(b"\n")
    ]
    return scanned(b"\n".join(lines), names)


def parsed(body: bytes, names: NameRule = NameRule.LEGACY):
    return outcome(TextReader(names).read, body)


def recorded():
    for scenario in json.loads(VECTORS.read_text()):
        (step, *_) = scenario["steps"]
        is_text = scenario["name"].startswith(("text ", "utf8 text"))
        if is_text and "differs" not in scenario and "status" in step["expect"]:
            body = (
                step["body"].encode() if "body" in step else base64.b64decode(step["body_base64"])
            )
            names = NameRule.UTF8 if scenario["flags"] else NameRule.LEGACY
            yield pytest.param(names, body, step["expect"], id=scenario["name"])


@pytest.mark.parametrize(("names", "body", "expected"), list(recorded()))
@pytest.mark.parametrize("read", [scanned, parsed])
def test_bodies_are_read_as_the_go_server_reads_them(read, names, body, expected):
    error = expected["body"].removesuffix("\n") if expected["status"] == 400 else ""
    found = read(body, names)
    if error.startswith("text format"):
        assert found == error
    else:  # what the store says of it is not of the format
        assert isinstance(found, Pushed)


ERRORS = [
    (b"a 1", "unexpected end of input stream"),
    (b"# EOF", "unexpected end of input stream"),
    (b'{"a', "unexpected end of input stream"),
    (b'""', "unexpected end of input stream"),
    (b"1a 1\n", "invalid metric name"),
    (b"-a 1\n", "invalid metric name"),
    (b"\r\n", "invalid metric name"),
    (b"\xef\xbb\xbfa 1\n", "invalid metric name"),
    (b'{x="y"} 1\n', "invalid metric name"),
    (b"{} 1\n", "invalid metric name"),
    (b'{"a.b"} 1\n', 'invalid metric name "a.b"'),
    (b"# HELP a-b foo\n", "invalid metric name in comment"),
    (b"# HELP 1a foo\n", "invalid metric name in comment"),
    (b'# TYPE "a"x gauge\n', "invalid metric name in comment"),
    (b"a{,} 1\n", 'invalid label name for metric "a"'),
    (b'a{x="y",,z="w"} 1\n', 'invalid label name for metric "a"'),
    (b'a{1x="y"} 1\n', 'invalid label name for metric "a"'),
    (b'a{""="1"} 1\n', 'invalid label name for metric "a"'),
    (b"{,} 1\n", 'invalid label name for metric ""'),
    (b"a{x y} 1\n", "expected '=' after label name, found 'y'"),
    (b"a{x} 1\n", "expected '=' after label name, found '}'"),
    (b'a{x-y="z"} 1\n', "expected '=' after label name, found '-'"),
    (b"a{x=y} 1\n", "expected '\"' at start of label value, found 'y'"),
    (b'a{__name__="foo"} 1\n', 'label name "__name__" is reserved'),
    (b'a{"x.y"="z"} 1\n', 'invalid label name "x.y"'),
    (b'a{x="1",x="2"} 1\n', 'duplicate label names for metric "a"'),
    (b'a{x="y\n', 'label value "y" contains unescaped new-line'),
    (b'a{x="\xff"} 1\n', r'invalid label value "\xff"'),
    (b'a{x="y"\n', 'unexpected end of label value "y"'),
    (b'a{x="y" 2\n', 'unexpected end of label value "y"'),
    (b'a{x="\\t"} 1\n', "invalid escape sequence '\\t'"),
    (b'{"\\t"} 1\n', "invalid escape sequence '\\t'"),
    (b"# HELP a \\t\n", "invalid escape sequence '\\t'"),
    (b'{"a","b"} 1\n', 'multiple metric names for metric "a"'),
    (b'{"a" "b"} 1\n', "unexpected end of metric name '\"'"),
    (b'{"a"b"} 1\n', "unexpected end of metric name 'b'"),
    (b"{a.b} 1\n", "unexpected end of metric name '.'"),
    (b'"a.b\n', 'metric name "a.b" contains unescaped new-line'),
    (b'{"a\n', 'label name "a" contains unescaped new-line'),
    (b"a 1\r\n", r'expected float as value, got "1\r"'),
    (b"a\n", 'expected float as value, got ""'),
    (b'a{x="y"}\n', 'expected float as value, got ""'),
    (b"a-b 1\n", 'expected float as value, got "-b"'),
    (b'a{x="y"} # c\n', 'expected float as value, got "#"'),
    (b"a 1_0\n", 'expected float as value, got "1_0"'),
    (b"a 0x1\n", 'expected float as value, got "0x1"'),
    (b"a +NaN\n", 'expected float as value, got "+NaN"'),
    (b"a 1e400\n", 'expected float as value, got "1e400"'),
    (
        b'# TYPE s summary\ns{quantile="x"} 1\n',
        "expected float as value for 'quantile' label, got \"x\"",
    ),
    (
        b'# TYPE h histogram\nh_bucket{le="x"} 1\n',
        "expected float as value for 'le' label, got \"x\"",
    ),
    (b"# TYPE h histogram\nh_count -1\n", 'negative count for histogram "h"'),
    (b'# TYPE h histogram\nh{le="1"} -1\n', 'negative bucket population for histogram "h"'),
    (b"a 1 \n", 'expected integer as timestamp, got ""'),
    (b"a 1 # c\n", 'expected integer as timestamp, got "#"'),
    (b"a 1 2.5\n", 'expected integer as timestamp, got "2.5"'),
    (b"a 1 9223372036854775808\n", 'expected integer as timestamp, got "9223372036854775808"'),
    (b"a 1 2 \n", 'spurious string after timestamp: " "'),
    (b"# HELP a b\n# HELP a b\n", 'second HELP line for metric name "a"'),
    (
        b"a 1\n# TYPE a gauge\n",
        'second TYPE line for metric name "a", or TYPE reported after samples',
    ),
    (b"# TYPE a foo\n", 'unknown metric type "foo"'),
    (b"# TYPE a gauge \n", 'unknown metric type "gauge "'),
    (b"# TYPE a gauge\r\n", r'unknown metric type "gauge\r"'),
    (b"# TYPE a counter extra\n", 'unknown metric type "counter extra"'),
    (b"# TYPE a unknown\n", 'unknown metric type "unknown"'),
]


@pytest.mark.parametrize(("body", "reason"), ERRORS)
@pytest.mark.parametrize("before", [b"", b"\n# free\n\n"])
def test_errors_name_the_line_and_the_reason(before, body, reason):
    lines = before.count(b"\n") + body.rstrip(b"\n").count(b"\n") + 1
    expected = f"text format parsing error in line {lines}: {reason}"
    assert scanned(before + body) == expected
    assert parsed(before + body) == as_left_by_editors(before + body)


def test_an_error_inside_braces_names_the_family_of_the_line_before():
    error = 'text format parsing error in line 2: invalid label name for metric "b"'
    assert (parsed(b"b 1\n{,} 1\n"), scanned(b"b 1\n{,} 1\n")) == (error, error)


def test_braces_do_not_reuse_the_family_of_the_line_before():
    assert "invalid metric name" in parsed(b'b 1\n{x="y"} 2\n')
    other = parsed(b'# TYPE h histogram\nh_count 1\n{le="x","a"} 1\n')
    assert other.shape.families[1].labels == ((("le", "x"),),)
    bucket = parsed(b'# TYPE h histogram\na 1\n{"h_bucket",x="y",le="1"} 1\n')
    assert bucket.shape.families[0].bounds == (("1",),)


def test_a_timestamp_of_any_length_is_judged():
    assert "expected integer as timestamp" in parsed(b"a 1 " + b"1" * 10_000 + b"\n")
    assert parsed(b"a 1 -" + b"0" * 10_000 + b"9223372036854775808\n").timestamped


ASSEMBLED = [
    (
        b'# TYPE s summary\ns{quantile="0.5"} 1\ns_sum 2\ns_count 3\n',
        ['s{quantile="0.5"} 1', "s_sum 2", "s_count 3"],
    ),
    (b"# TYPE s summary\ns_sum 2\n", ["s_sum 2", "s_count 0"]),
    (b"# TYPE s summary\ns 5\n", ["s_sum 0", "s_count 0"]),
    (b"# TYPE s summary\ns_count 3.7\n", ["s_sum 0", "s_count 3"]),
    (b"# TYPE s summary\ns_count -3.7\n", ["s_sum 0", "s_count 0"]),
    (b"# TYPE s summary\ns_count NaN\n", ["s_sum 0", "s_count 0"]),
    (b"# TYPE s summary\ns_count 1e30\n", ["s_sum 0", "s_count 1.844674407370955e+19"]),
    (
        b'# TYPE s summary\ns{quantile="1",quantile="2"} 1\n',
        ['s{quantile="2"} 1', "s_sum 0", "s_count 0"],
    ),
    (
        b'# TYPE h histogram\nh_bucket{le="1"} 1\nh_sum 3\nh_count 2\n',
        ['h_bucket{le="1"} 1', 'h_bucket{le="+Inf"} 2', "h_sum 3", "h_count 2"],
    ),
    (
        b'# TYPE h histogram\nh_bucket{le="1"} 3\nh_bucket{le="2"} 1\n',
        [
            'h_bucket{le="1"} 3',
            'h_bucket{le="2"} 1',
            'h_bucket{le="+Inf"} 0',
            "h_sum 0",
            "h_count 0",
        ],
    ),
    (
        b'# TYPE h histogram\nh_bucket{le="1"} 1.5\nh_count 2\nh_sum 3\n',
        ['h_bucket{le="1"} 1.5', 'h_bucket{le="+Inf"} 2', "h_sum 3", "h_count 2"],
    ),
    (
        b'# TYPE h histogram\nh_bucket{le="1e2"} 1\nh{le="Inf"} 1\n',
        ['h_bucket{le="100"} 1', 'h_bucket{le="+Inf"} 1', "h_sum 0", "h_count 0"],
    ),
    (
        b"# TYPE h histogram\nh_count -0\nh_bucket 5\n",
        ['h_bucket{le="+Inf"} 0', "h_sum 0", "h_count 0"],
    ),
    (b'h_bucket{le="1"} 1\nh_sum 1\nh_count 1\n', ['h_bucket{le="1"} 1', "h_sum 1", "h_count 1"]),
    (b"# TYPE s summary\ns_sum 1\ns_bucket 2\n", ["s_sum 1", "s_count 0", "s_bucket 2"]),
    (b'a 1\nb 2\na{x="1"} 3\n', ["a 1", 'a{x="1"} 3', "b 2"]),
    (b'a"b" 1\na{x"y"="1"} 2\n', ["ab 1", 'a{xy="1"} 2']),
    (b'\t a  .0\na\t{ x = "\\\\\\"\\n" , }+5.\n', ["a 0", 'a{x="\\\\\\"\\n"} 5']),
    (b"# TYPE a GAUGE\n#HELP a x\n##HELP\n# HELP\n# HELP a\n# TYPE a \n\n", []),
]


@pytest.mark.parametrize(("body", "samples"), ASSEMBLED)
@pytest.mark.parametrize("read", [scanned, parsed])
def test_samples_are_assembled_to_families(read, body, samples):
    lines = rendered(read(body)).decode().splitlines()
    shown = [line.replace('instance="",job="j"', "") for line in lines if line[0] != "#"]
    assert [line.replace("{,", "{").replace("{}", "") for line in shown] == samples


def test_help_and_type_belong_to_the_family_that_the_name_leads_to():
    body = b'# TYPE s summary\n# HELP s_sum \t a\\\\b\\n"c \n# HELP t x\r \ns_count 1\nt 1\n'
    one, other = parsed(body).shape.families
    assert (one.name, one.help, other.type.word, other.help) == (
        "s",
        'a\\b\n"c ',
        "untyped",
        "x\r ",
    )


def test_the_type_that_is_shown():
    assert rendered(parsed(b"# TYPE h gaugehistogram\nh_count 1\n")).startswith(
        b"# TYPE h histogram\n"
    )


# Almost valid bodies: whole lines, with pieces exchanged for odd ones.
numbers = st.one_of(
    st.integers(-3, 100).map(str),
    st.floats().map(repr),
    st.floats().map(go_float),
    st.sampled_from(
        [
            "42.0",
            "-0",
            "-0.0",
            ".0",
            "0.",
            "+1",
            "1_0",
            "0x1",
            "+NaN",
            "NaN",
            "nan",
            "1e400",
            "+Inf",
            "-Inf",
            "Inf",
            "1e5",
            "1E5",
            "100000.0",
            "1.0e+06",
            "",
            "1\r",
            "007",
            "٣",
            "2" * 31,
        ]
    ),
)
names = st.sampled_from(
    ["a", "h", "h_bucket", "h_count", "h_sum", "s", "s_count", "s_sum", '"a.b"']
)
pairs = st.sampled_from(
    [
        'x="1"',
        'x="}"',
        'x = "1" ',
        'y="\\n"',
        'y="é 1"',
        'y="\\x"',
        'le="1"',
        'le="NaN"',
        'le="z"',
        'quantile="0.5"',
        '__name__="a"',
        '"l.l"="1"',
        'job="q"',
        '"a"',
        "",
        "x",
        'x="1" 1',
    ]
)
labels = st.lists(pairs, max_size=3).map(lambda inside: "{" + ",".join(inside) + "}")
blanks = st.sampled_from([" ", " ", " ", "  ", "\t", ""])
ends = st.sampled_from([*["\n"] * 8, "\r\n", " \n", "", " 12\n", " 1e3\n", "\n\n"])
types = st.sampled_from(
    ["gauge", "histogram", "summary", "counter", "gaugehistogram", "Gauge", "x"]
)
samples = st.builds("{}{}{}{}{}".format, names, st.just("") | labels, blanks, numbers, ends)
inside_braces = st.builds("{{{},{}}} {}{}".format, names, pairs, numbers, ends)
comments = st.one_of(
    st.builds("# TYPE {} {}{}".format, names, types, ends),
    st.builds("# HELP {} took {}{}".format, names, numbers, ends),
    st.builds("#{}{}{}".format, blanks, numbers, ends),
    st.sampled_from(["# HELP a \\n 5\n", "# HELP h é\n", "#HELP h 1\n", "# TYPE a\n", "# EOF\n"]),
)
almost_valid = st.lists(samples | samples | inside_braces | comments, max_size=8).map(
    lambda lines: "".join(lines).encode()
)
rules = st.sampled_from(NameRule)


@given(almost_valid, rules)
def test_a_body_read_again_gives_the_same(body, names):
    reader = TextReader(names)
    results = [content(outcome(reader.read, body)) for _ in range(4)]
    assert results == [content(as_left_by_editors(body, names))] * 4


# What clients send: whole families, as the columnar reader takes them.
ordinary_values = st.text(st.characters(codec="utf-8"), max_size=3).map(
    lambda value: value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
)
ordinary_numbers = st.sampled_from(["0", "1", "2.5", "-3", "1e+06", "NaN", "+Inf", "12345678"])
SAMPLES = {
    "": [""],
    "counter": [""],
    "gauge": [""],
    "untyped": [""],
    "summary": ['quantile="0.5"', 'quantile="0.99"', "_sum", "_count"],
    "histogram": ['le="0.1"', 'le="1"', 'le="+Inf"', "_count", "_sum"],
}


@st.composite
def ordinary_families(draw):
    """Families, and for each of their label values and numbers four texts."""
    lines, blanks = [], []
    for name in draw(st.lists(st.sampled_from("abcde"), unique=True, max_size=3)):
        kind = draw(st.sampled_from(sorted(SAMPLES)))
        if draw(st.booleans()):
            lines.append(f"# HELP {name} takes up to {draw(st.integers(0, 9))}")
        if kind:
            lines.append(f"# TYPE {name} {kind}")
        names = draw(st.lists(st.sampled_from(["x", "y", "job"]), unique=True, max_size=2))
        for _ in range(draw(st.integers(1, 3))):
            values = [draw(st.lists(ordinary_values, min_size=4, max_size=4)) for _ in names]
            for sample in SAMPLES[kind]:
                suffix = "_bucket" if sample.startswith("le") else sample * sample.startswith("_")
                own = [sample] if "=" in sample else []
                pairs = [*(f'{label}="%s"' for label in names), *own]
                lines.append(f"{name}{suffix}{{{','.join(pairs)}}} %s")
                blanks += [*values, draw(st.lists(ordinary_numbers, min_size=4, max_size=4))]
    return "".join(f"{line}\n" for line in lines), blanks


@few_large_examples
@given(ordinary_families())
def test_ordinary_families_are_read_by_columns_as_the_scanner_reads_them(families):
    text, blanks = families
    reader = TextReader(NameRule.LEGACY)
    bodies = [(text % tuple(blank[at] for blank in blanks)).encode() for at in (0, 0, 0, 1, 2, 3)]
    for body in [*bodies, *bodies]:
        found, expected = outcome(reader.read, body), scanned(body)
        assert content(found) == content(expected)
        if isinstance(found, Pushed):
            assert found.shape.label_schema is expected.shape.label_schema


@given(ordinary_families() | almost_valid.map(lambda body: (body.decode(), [])), rules)
def test_a_large_body_is_read_in_pieces_as_the_scanner_reads_it(families, names):
    text, blanks = families
    body = (text % tuple(blank[0] for blank in blanks) if blanks else text).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_module, "_PIECE_BYTES", 30)
        found = outcome(TextReader(names).read, body)
    assert content(found) == content(as_left_by_editors(body, names))


lines_with_values = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "a ",
                'a{x="1"} ',
                "h_count ",
                'h_bucket{le="1"} ',
                'h_bucket{le="NaN"} ',
                "h_sum ",
                "s_count ",
                "s_sum ",
                's{quantile="1"} ',
                "s ",
                "# HELP b took ",
                "# took ",
                "b ",
            ]
        ),
        st.lists(numbers, min_size=3, max_size=3),
    ),
    max_size=6,
)


@given(lines_with_values)
@example([("h_count ", ["1", "-1", "1"]), ("h_count ", ["2", "2", "2"])])
@example([("# HELP b took ", ["1", "2", "1"]), ("b ", ["3", "4", "5"])])
@example([("a ", [".5", "0.5", ".0"])])
def test_a_known_shape_with_other_values_gives_what_the_scanner_gives(lines):
    head = "# TYPE h histogram\n# TYPE s summary\n"
    bodies = [
        (head + "".join(f"{line}{values[at]}\n" for line, values in lines)).encode()
        for at in range(3)
    ]
    reader = TextReader(NameRule.LEGACY)
    for body in [*bodies, *bodies, *bodies]:
        assert content(outcome(reader.read, body)) == content(as_left_by_editors(body))


label_values = st.text('"\\\n 1é\0x}=,', max_size=3)
labelled = st.sampled_from(
    [
        'a{{x="{}"}} ',
        'a{{x="{}",b="{}"}} ',
        'a{{ b = "{}" , }} ',
        "a ",
        'b{{instance="{}"}} ',
        '# HELP c "{}" took ',
        '"c"{{x="{}"}} ',
        '{{"c",x="{}"}} ',
        'h{{le="{}"}} ',
        'h_sum{{x="{}"}} ',
    ]
)
surrounds = st.lists(
    st.tuples(
        labelled,
        st.lists(
            st.tuples(label_values | st.sampled_from("xy"), label_values), min_size=4, max_size=4
        ),
        st.lists(numbers | st.just("1"), min_size=4, max_size=4),
    ),
    max_size=5,
)


@given(surrounds, st.booleans())
def test_a_known_surround_with_other_values_gives_what_the_scanner_gives(lines, has_types):
    reader = TextReader(NameRule.LEGACY)
    head = "# TYPE h histogram\n" if has_types else ""
    for at in range(4):
        body = head + "".join(
            f"{line.format(*values[at])}{written[at]}\n" for line, values, written in lines
        )
        found = outcome(reader.read, body.encode())
        expected = as_left_by_editors(body.encode())
        if isinstance(expected, str):
            assert found == expected
            continue
        assert found._replace(shape=expected.shape) == expected
        assert found.shape.families == expected.shape.families
        assert found.shape.label_schema is expected.shape.label_schema
        assert found.shape.starts == expected.shape.starts
        assert found.shape.longest_value == expected.shape.longest_value
        assert (
            finished(found.shape.examination(JOB))
            == finished(expected.shape.examination(JOB))
            == violations(found.shape, JOB)
        )


# Complete metrics, as long as {0} and {1} differ; {2} and {3} are bounds.
distributions = st.lists(
    st.sampled_from(
        [
            'h_bucket{{x="{0}",le="{2}"}} h_bucket{{le="{3}",x="{0}"}} h_sum{{x="{0}"}}',
            'h_bucket{{le="{2}",x="{1}"}} h_sum{{x="{1}"}} h_count{{x="{1}"}}',
            'h_sum{{y="{0}",x="{1}"}} h_bucket{{le="1",x="{1}",y="{0}"}}',
            's{{quantile="{2}",x="{0}"}} s{{x="{0}",quantile="{3}"}} s_sum{{x="{0}"}}',
            's_count{{x="{1}"}} s_sum{{x="{1}"}}',
            'g{{x="{0}",le="{2}"}}',
        ]
    ),
    min_size=1,
    max_size=4,
    unique=True,
)
four_values = st.tuples(*[st.sampled_from("xy")] * 2, *[st.sampled_from(["1", "1.0", "2"])] * 2)


@given(distributions, st.lists(four_values, min_size=3, max_size=3))
def test_known_distributions_with_other_labels_give_what_the_scanner_gives(metrics, rounds):
    reader = TextReader(NameRule.LEGACY)
    samples = " ".join(metrics).replace(" ", " 1\n")
    body = f"# TYPE h histogram\n# TYPE s summary\n{samples} 1\n"
    for values in [("x", "y", "1", "2"), ("x", "z", "1", "2"), *rounds]:
        read = body.format(*values).encode()
        expected, found = scanned(read), outcome(reader.read, read)
        assert content(found) == content(expected)
        assert found.shape.starts == expected.shape.starts
        assert found.shape.label_schema is expected.shape.label_schema


# {0} and {1} are new in each body, {2} is not.
relabeled = st.lists(
    st.tuples(
        st.sampled_from(
            [
                'a{{run="{0}",x="{2}"}}',
                'a{{x="{2}", run = "{0}"}}',
                'a{{x="{2}"}}',
                'b{{run="{0}",commit="{1}",x="{2}"}}',
                'b{{commit="{0}",run="{1}",x="{2}"}}',
                'h_bucket{{run="{0}",le="{2}"}}',
                'h_bucket{{run="{0}",le="{1}"}}',
                'h_sum{{run="{0}"}}',
                "c",
                '{{"d",run="{0}"}}',
                '# HELP e "{0}"',
            ]
        ),
        st.sampled_from(["1", "1.0", "r1", ",x=", "", r"\"", r"\"r1", "é"]),
    ),
    min_size=1,
    max_size=4,
)
runs = st.sampled_from(["1", "r1", ",x=", "}x", "", r"\"", r"\\", "é", "2\n", "x="])


@given(relabeled, st.lists(st.tuples(runs, runs), min_size=3, max_size=3))
@example([('a{{run="{0}",x="{2}"}}', "1")], [("1", "1"), ("2", "2"), ("1", "1")])
@example([('h_bucket{{run="{0}",le="{1}"}}', "")], [("1", "1"), ("2", "2"), ("3", "3")])
@example([('a{{x="{2}", run = "{0}"}}', r"\"r3")], [("r4", "r4"), ("r5", "r5"), ("r6", "r6")])
@example([('a{{x="{2}", run = "{0}"}}', ",x=")], [(",x=", ",x="), ("x", "x"), ("y", "y")])
def test_known_labels_but_for_some_values_give_what_the_scanner_gives(lines, later):
    reader = TextReader(NameRule.LEGACY)
    samples = "".join(f"{line} 1\n".replace("{2}", value) for line, value in lines)
    for values in [("r1", "q1"), ("r2", "q2"), ("r3", "q3"), *later]:
        body = ("# TYPE h histogram\n" + samples.format(*values)).encode()
        found, expected = outcome(reader.read, body), as_left_by_editors(body)
        assert content(found) == content(expected)
        if isinstance(found, Pushed):
            shape, known = found.shape, expected.shape
            assert shape.label_schema is known.label_schema
            assert (shape.starts, shape.longest_value) == (known.starts, known.longest_value)
            assert shape.is_distinct is interned(shape.families).is_distinct


@pytest.mark.parametrize(
    "body",
    [
        b'c 1\na{run="%b",x="1"} 1\na{run="%b",x="2"} 2\nb{x="1"} 1\n',
        b'# TYPE h histogram\nh_bucket{run="%b",le="1"} 1\nh_sum{run="%b"} 1\n',
        b"".join(b'a{run="%%b",v="1",w="2",x="%d",y="3",z="4"} 1\n' % at for at in range(1000)),
    ],
)
def test_labels_that_are_known_but_for_one_value_are_not_read(body, monkeypatch):
    reader = TextReader(NameRule.LEGACY)
    for run in (b"1st", b"2nd", b"3rd"):
        reader.read(body.replace(b"%b", run))
    monkeypatch.setattr(text_module, "_unquoted", None)
    later = body.replace(b"%b", b"4th")
    assert content(reader.read(later)) == content(scanned(later))


@pytest.mark.parametrize(
    ("body", "learned"),
    [
        ('a{run="%s"} 1\na{run="base"} 1\n', 1),
        ("a{" + ",".join(f'l{at}="%s"' for at in range(8)) + "} 1\n", 1),
        ("a{" + ",".join(f'l{at}="%s"' for at in range(9)) + "} 1\n", 0),
    ],
)
def test_labels_that_have_to_be_read_are_found_out_once(body, learned, monkeypatch):
    made = []

    def relabeling(*arguments):
        made.append(arguments)
        return Relabeling(*arguments)

    monkeypatch.setattr(text_module, "Relabeling", relabeling)
    reader = TextReader(NameRule.LEGACY)
    for run in range(9):
        new = [f"{run}_{at}" for at in range(body.count("%s"))]
        reader.read((body % tuple(new)).encode())
    assert len(made) == learned


@given(st.binary() | st.text('a{}="\\ \n#1x,').map(str.encode), rules)
def test_any_bytes_are_a_push_or_an_error(body, names):
    found = outcome(TextReader(names).read, body)
    assert content(found) == content(as_left_by_editors(body, names))


@given(almost_valid, rules)
@example(b'{s_count,x="1"} 0\n# TYPE s histogram\ns 0\n', NameRule.LEGACY)
def test_what_is_shown_reads_back_the_same(body, names):
    pushed = parsed(body, names)
    if isinstance(pushed, str) or violations(pushed.shape, JOB) or collide(pushed.shape.families):
        return
    shown = rendered(pushed)
    assert rendered(parsed(shown, NameRule.UTF8)) == shown


def collide(families):
    """Whether lines of one family have the name of another, which the store refuses."""
    names = {family.name for family in families}
    return any(
        family.name + suffix in names
        for family in families
        if not family.type.is_simple
        for suffix in ("_bucket", "_count", "_sum")
    )


LEGAL = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
legal_labels = st.dictionaries(LEGAL, st.text(st.characters(exclude_categories=["Cs"])), max_size=3)


@few_large_examples
@given(st.lists(st.tuples(LEGAL, legal_labels, st.floats()), max_size=6))
def test_prometheus_client_reads_the_same(samples):
    lines = []
    for name, pairs, value in samples:
        escaped = [
            f'{n}="%s"' % v.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
            for n, v in pairs.items()
        ]
        lines.append(f"{name}{{{','.join(escaped)}}} {value!r}\n")
    body = "".join(lines)
    theirs = [
        (sample.name, tuple(sorted(sample.labels.items())), repr(sample.value))
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    ]
    pushed = parsed(body.encode())
    values = iter(pushed.numbers.split())
    ours = [
        (family.name, labels, repr(float(next(values))))
        for family in pushed.shape.families
        for labels in family.labels
    ]
    assert sorted(ours) == sorted(theirs)


def test_a_known_surround_is_put_together_not_parsed():
    reader = TextReader(NameRule.LEGACY)
    body = b'a{x="%b",b=""} 1\nb{z="%b"} 2\n'
    shapes = [reader.read(body % (value, value)).shape for value in (b"1", b"2", b"3", b"3", b"3")]
    assert all(shape.label_schema is shapes[0].label_schema for shape in shapes)
    assert shapes[3] is not interned(shapes[3].families)
    assert shapes[4] is shapes[3]


TIDY = b'# HELP a text\n# TYPE a gauge\na{x="y z"} 1\nb 2\n'


@pytest.mark.parametrize(
    "body",
    [
        TIDY.replace(b"\n", b"\r\n"),
        TIDY.removesuffix(b"\n"),
        b"\xef\xbb\xbf" + TIDY,
        TIDY.replace(b"1\n", b"1 \t\n"),
        TIDY.replace(b"\n", b"\n \t\n"),
        (b"\xef\xbb\xbf" + TIDY).replace(b"1\n", b"1 \n").replace(b"\n", b"\r\n").rstrip(),
    ],
)
def test_text_is_read_as_editors_leave_it(body):
    reader = TextReader(NameRule.LEGACY)
    assert reader.read(body) == reader.read(body) == parsed(TIDY)


def test_untidy_text_still_has_the_line_of_its_error_named():
    reader = TextReader(NameRule.LEGACY)
    assert outcome(reader.read, b"a 1 \r\n\r\nb x \r\n").endswith(
        'line 3: expected float as value, got "x"'
    )


@pytest.mark.parametrize("body", [b"", b"\n", b"\xef\xbb\xbf", b"# c\n", b"\n\n ", b" "])
def test_an_empty_push(body):
    assert TextReader(NameRule.LEGACY).read(body) == Pushed(interned(()), b"")


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b"# HELP a b", 1),
        (b" #", 1),
        (b"\xef\xbb\xbf# c", 1),
        (b"\n# c", 2),
        (b"# a\r\n\r\n  # b", 3),
        (b"# TYPE a gauge\n# HELP a b", 2),
    ],
)
def test_comments_without_the_last_line_feed_are_no_empty_push(body, line):
    reader = TextReader(NameRule.LEGACY)
    for _ in range(3):
        reader.read(body + b"\n")
    assert outcome(reader.read, body) == (
        f"text format parsing error in line {line}: unexpected end of input stream"
    )


def test_the_first_error_of_comments_is_named():
    assert "line 1: invalid metric name in comment" in parsed(b"# HELP a-b c\n# d")


def test_bodies_that_are_not_alike_are_not_remembered():
    reader = TextReader(NameRule.LEGACY)
    for body in (b"a 1 5\n", b"a 1E5\n", b"# TYPE s summary\ns 1\n"):
        for _ in range(3):
            reader.read(body)
    assert not reader._shapes.bytes


def test_large_odd_bodies_take_no_longer_than_others():
    """A megabyte that no shortcut takes: read in runs, not character by character."""
    value = b"y" * 1_000_000
    pushed = parsed(b'a{x="' + value + b'\\n"} 1\n')
    assert pushed.shape.families[0].labels == ((("x", text(value) + "\n"),),)
    assert not math.isnan(float(pushed.numbers))


@pytest.mark.parametrize(
    ("lines", "numbers"),
    [
        ("h_count .4\nh_count 7\n", b"0 0.4"),
        ("h_count 7\nh_count 0.4\n", b"0 0.4"),
        ("h_count NaN\nh_count 7\n", b"0 NaN"),
        ("h_count 1\nh_count 7\n", b"0 7"),
    ],
)
def test_of_repeated_histogram_counts_a_float_wins(lines, numbers):
    body = f"# TYPE h histogram\n{lines}".encode()
    assert parsed(body).numbers == numbers
