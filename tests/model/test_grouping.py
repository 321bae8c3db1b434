"""Grouping keys: what a push path names, row by row as the Go server answered."""

import base64

import pytest
from hypothesis import given, strategies as st

from pushgate.errors import InvalidGroupingKey
from pushgate.model import grouping
from pushgate.model.grouping import GroupingKey, grouping_key_of, parse_grouping_key, unpercent
from pushgate.model.names import NameRule
from pushgate.model.quoting import text


def parsed(path: str, names: NameRule = NameRule.LEGACY) -> GroupingKey:
    """Return the group of *path*, split as the Go server splits it: decoded first."""
    decoded = unpercent(path.encode("utf-8", "surrogateescape"))
    kind, _, rest = decoded.removeprefix(b"/metrics/").partition(b"/")
    job, *parts = rest.split(b"/")
    return parse_grouping_key(job, parts, job_is_base64=kind == b"job@base64", names=names)


@pytest.mark.parametrize(
    ("path", "labels"),
    [
        ("/metrics/job/foo", {"job": "foo"}),
        ("/metrics/job/foo/", {"job": "foo"}),
        ("/metrics/job/foo/instance/a", {"instance": "a", "job": "foo"}),
        ("/metrics/job/foo/instance/", {"instance": "", "job": "foo"}),
        ("/metrics/job/foo/a/b/a/c", {"a": "c", "job": "foo"}),
        ("/metrics/job/foo/job/bar/x/y/job/baz", {"job": "foo", "x": "y"}),
        ("/metrics/job/foo/job@base64/YmFy", {"job": "foo"}),
        ("/metrics/job/foo/_a/x", {"_a": "x", "job": "foo"}),
        ("/metrics/job/foo/a@base64/YQ", {"a": "a", "job": "foo"}),
        ("/metrics/job/foo/a@base64/YQ=", {"a": "a", "job": "foo"}),
        ("/metrics/job/foo/a@base64/YQ==", {"a": "a", "job": "foo"}),
        ("/metrics/job/foo/a%40base64/YQ", {"a": "a", "job": "foo"}),
        ("/metrics/job/foo/a@base64/=", {"a": "", "job": "foo"}),
        ("/metrics/job/foo/a@base64/====", {"a": "", "job": "foo"}),
        ("/metrics/job/foo/a@base64/Zm%0A9v%0D", {"a": "foo", "job": "foo"}),
        ("/metrics/job/foo/a@base64/Zm9vYh", {"a": "foob", "job": "foo"}),
        ("/metrics/job@base64/Zm9v", {"job": "foo"}),
        ("/metrics/job@base64/Zm9v==", {"job": "foo"}),
        ("/metrics/job@base64/Zm9v/", {"job": "foo"}),
        ("/metrics/job%40base64/Zm9v", {"job": "foo"}),
        ("/metrics/job@base64/YS9i/x/y", {"job": "a/b", "x": "y"}),
        ("/metrics/job/a%2Fb/c", {"b": "c", "job": "a"}),
        ("/metrics/job/dc/path/%2Fvar%2Ftmp", {"job": "dc", "path": "", "var": "tmp"}),
        ("/metrics/job/foo+bar", {"job": "foo+bar"}),
        ("/metrics/job/foo%20bar", {"job": "foo bar"}),
        ("/metrics/job/%E4%B8%AD", {"job": "中"}),
        ("/metrics/job/中", {"job": "中"}),
        ("/metrics/job/%252F", {"job": "%2F"}),
        ("/metrics/job/foo;x", {"job": "foo;x"}),
        ("/metrics/job/:job", {"job": ":job"}),
        ("/metrics/job/%2e%2e", {"job": ".."}),
        ("/metrics/job/foo%00bar", {"job": "foo\0bar"}),
        ("/metrics/job/foo%0Abar", {"job": "foo\nbar"}),
    ],
)
def test_a_path_names_a_group(path, labels):
    assert dict(parsed(path).labels) == labels


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/metrics/job/foo/instance/a/", 'odd number of components in label string "/instance/a/"'),
        ("/metrics/job/foo/instance", 'odd number of components in label string "/instance"'),
        ("/metrics/job/foo/__a/b", 'improper label name "__a"'),
        ("/metrics/job/foo/1a/b", 'improper label name "1a"'),
        ("/metrics/job/foo/a-b/c", 'improper label name "a-b"'),
        ("/metrics/job/foo/a.b/c", 'improper label name "a.b"'),
        ("/metrics/job/foo/a%20b/c", 'improper label name "a b"'),
        ("/metrics/job/foo/@base64/YQ", 'improper label name ""'),
        ("/metrics/job/foo/a@base64@base64/YQ", 'improper label name "a@base64"'),
        (
            "/metrics/job/foo/a@base64/Y",
            'invalid base64 encoding for label a="Y": illegal base64 data at input byte 0',
        ),
        (
            "/metrics/job/foo/a@base64/Y=Q",
            'invalid base64 encoding for label a="Y=Q": illegal base64 data at input byte 1',
        ),
        (
            "/metrics/job/foo/a@base64/a+b/",
            'odd number of components in label string "/a@base64/a+b/"',
        ),
        (
            "/metrics/job/foo/a@base64/a+b",
            'invalid base64 encoding for label a="a+b": illegal base64 data at input byte 1',
        ),
        ("/metrics/job@base64/=", "job name is required"),
        ("/metrics/job@base64/====", "job name is required"),
        (
            "/metrics/job@base64/Z",
            'invalid base64 encoding in job name "": illegal base64 data at input byte 0',
        ),
        (
            "/metrics/job@base64/Z%0A",
            'invalid base64 encoding in job name "": illegal base64 data at input byte 1',
        ),
        (
            "/metrics/job@base64/Zm9v!!",
            'invalid base64 encoding in job name "foo": illegal base64 data at input byte 4',
        ),
        (
            "/metrics/job@base64/Z/a",
            'invalid base64 encoding in job name "": illegal base64 data at input byte 0',
        ),
        ("/metrics/job/a%2Fb", 'odd number of components in label string "/b"'),
        ("/metrics/job/%2F", "job name is required"),
        ("/metrics/job/%2Fa", 'odd number of components in label string "/a"'),
        ("/metrics/job/%2Fx/y", "job name is required"),
        ("/metrics/job/%2F%2F", 'improper label name ""'),
        ("/metrics/job/%FF", r'value of label job is not UTF-8: "\xff"'),
        ("/metrics/job/a/b@base64/_w", r'value of label b is not UTF-8: "\xff"'),
        ("/metrics/job/a/%FF/b", r'improper label name "\xff"'),
    ],
)
def test_a_path_that_names_no_group(path, error):
    with pytest.raises(InvalidGroupingKey) as caught:
        parsed(path)
    assert str(caught.value) == error


def test_a_refusal_repeats_only_the_start_of_a_long_path():
    with pytest.raises(InvalidGroupingKey) as caught:
        parsed("/metrics/job/a/b@base64/" + "QUFB" * 1000 + "!")
    quoted = "QUFB" * 250
    assert str(caught.value) == (
        f'invalid base64 encoding for label b="{quoted}"... (4001 characters): '
        "illegal base64 data at input byte 4000"
    )


def decoded_slowly(encoded: bytes) -> bytes | int:
    """What base64 *encoded* means, byte for byte; or the offset of the first wrong byte."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    encoded, bits = encoded.rstrip(b"="), ""
    for offset, byte in enumerate(encoded):
        if byte in alphabet:
            bits += f"{alphabet.index(byte):06b}"
        elif byte not in b"\r\n":
            return offset
    if len(bits) // 6 % 4 == 1:
        return len(encoded) - 1
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits) - 7, 8))


@given(st.binary() | st.text("AQUFb-_=\r\n+!").map(str.encode))
def test_any_bytes_are_base64_or_the_first_wrong_byte_is_named(encoded):
    expected = decoded_slowly(encoded)
    if isinstance(expected, bytes):
        assert grouping._decode_base64(encoded) == expected
        return
    with pytest.raises(ValueError, match=f"illegal base64 data at input byte {expected}$"):
        grouping._decode_base64(encoded)


@pytest.mark.parametrize(
    ("name", "effective"),
    [
        ("U__foo_2e_bar", "foo.bar"),
        ("foo.bar", "foo.bar"),
        ("foo%20bar", "foo bar"),
        ("1a", "1a"),
        ("U___0_", "\0"),
        ("U____name____", "_name__"),
        ("U__in_xxx_valid", "U__in_xxx_valid"),
    ],
)
def test_utf8_label_names(name, effective):
    assert parsed(f"/metrics/job/j/{name}/v", NameRule.UTF8).names == tuple(
        sorted([effective, "job"])
    )


def test_a_label_name_may_mean_the_job():
    assert parsed("/metrics/job/j/U___6a_ob/v", NameRule.UTF8).labels == (("job", "j"),)


@pytest.mark.parametrize("name", ["U__", "U______name______", "__a", "U__%FF"])
def test_improper_utf8_label_names(name):
    with pytest.raises(InvalidGroupingKey, match="improper label name"):
        parsed(f"/metrics/job/j/{name}/v", NameRule.UTF8)


def test_legacy_names_are_not_unescaped():
    assert "U__a_2e_b" in parsed("/metrics/job/j/U__a_2e_b/v").names


def test_a_half_percent_escape_is_refused():
    with pytest.raises(ValueError, match="invalid percent-escape"):
        unpercent(b"/a%4")


@given(st.binary())
def test_unpercent_undoes_percent(path):
    assert unpercent(b"".join(b"%%%02x" % byte for byte in path)) == path


@given(st.binary())
def test_unpercent_leaves_everything_else_alone(path):
    plain = path.replace(b"%", b"")
    assert unpercent(plain + b"%25\\" + plain) == plain + b"%\\" + plain


@given(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(["", "=", "=="]))
def test_any_value_travels_as_base64(value, padding):
    encoded = base64.urlsafe_b64encode(value.encode()).rstrip(b"=") + padding.encode()
    key = grouping_key_of(
        b"j", [(b"a@base64", encoded)], job_is_base64=False, names=NameRule.LEGACY
    )
    assert dict(key.labels)["a"] == value


@given(st.text("ABab01-_+=! ", max_size=12))
def test_base64_agrees_with_the_slow_twin(encoded):
    stripped = encoded.rstrip("=")
    legal = all(c.isalnum() or c in "-_" for c in stripped) and len(stripped) % 4 != 1
    try:
        key = grouping_key_of(encoded.encode(), [], job_is_base64=True, names=NameRule.LEGACY)
    except InvalidGroupingKey as error:
        is_base64_error = "base64" in str(error)
        assert is_base64_error is not legal
        return
    assert legal
    padded = stripped + "=" * (-len(stripped) % 4)
    assert key.job.encode() == base64.urlsafe_b64decode(padded)


def test_the_order_of_pairs_does_not_matter():
    one = parsed("/metrics/job/j/b/2/a/1")
    other = parsed("/metrics/job/j/a/1/b/2")
    assert (one, hash(one), one.packed) == (other, hash(other), other.packed)
    assert one.packed == b"a\xff1\xffb\xff2\xffjob\xffj"


# Any bytes but 0xFF, which is in no UTF-8.
parts = st.binary().map(lambda part: text(part.replace(b"\xff", b"")))


@given(st.dictionaries(parts, parts, min_size=1))
def test_a_packed_key_is_unpacked(labels):
    key = GroupingKey(labels.items())
    assert GroupingKey.unpack(key.packed).labels == key.labels


def test_a_name_without_a_value_is_no_packed_key():
    with pytest.raises(ValueError, match="shorter"):
        GroupingKey.unpack(b"job\xffj\xffinstance")


def test_groups_are_ordered_by_their_packed_keys():
    keys = [GroupingKey([("job", job)]) for job in ("é", "b", "a", "B", "")]
    assert [key.job for key in sorted(keys)] == ["", "B", "a", "b", "é"]


def test_groups_share_their_label_names_unless_these_are_long():
    """Whoever sends long names once must not have them kept."""
    for name, are_shared in (("zone", True), ("z" * 2000, False)):
        one, other = (GroupingKey([("job", value), (name, "x")]) for value in "ab")
        assert one.names == other.names == ("job", name)
        assert (one.names is other.names) is are_shared
