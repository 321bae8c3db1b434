import json
import re
from pathlib import Path

import pytest
from hypothesis import example, given, strategies as st

from pushgate.errors import InvalidGroupingKey, LimitExceeded
from pushgate.model.family import FamilyShape, MetricType
from pushgate.model.grouping import GroupingKey, unpercent
from pushgate.model.names import Escaping
from pushgate.model.shape import interned
from pushgate.server.http.push_path import escaped, grouping_key, path_of, push_path
from pushgate.server.settings import Settings
from tests.layouts import render

SETTINGS = Settings()
UTF8 = Settings(push_enable_utf8_names=True)
VECTORS = Path(__file__).parents[2] / "conformance" / "vectors.json"


def recorded_paths() -> list:
    """Pushes that the reference let through to its URL grammar, with the label set it saw."""
    out = []
    for scenario in json.loads(VECTORS.read_text()):
        step = scenario["steps"][0]
        if "differs" in scenario or not re.match("(utf8 )?url ", scenario["name"]):
            continue
        utf8 = "--push.enable-utf8-names" in scenario["flags"]
        lines = step.get("exposition_after_allow_utf8") or step.get("exposition_after", [])
        samples = [line for line in lines if line.startswith("m{")]
        status, body = step["expect"]["status"], step["expect"]["body"]
        target = step["target"].partition("?")[0].encode("utf-8", "surrogateescape")
        if status == 200 and samples:
            out.append(pytest.param(target, utf8, samples[0], id=scenario["name"]))
        elif status == 400 and body.endswith("\n"):
            out.append(pytest.param(target, utf8, body.rstrip("\n"), id=scenario["name"]))
    return out


M = interned((FamilyShape("m", MetricType.UNTYPED, None, ((),)),))


def outcome(target: bytes, settings: Settings) -> str:
    """What a push of ``m 1`` to *target* shows in an exposition, or why it is refused."""
    try:
        key = grouping_key(target, settings)
    except InvalidGroupingKey as error:
        return str(error)
    [line] = render(M, [key], [b"1"], Escaping.ALLOW_UTF8)
    return line.decode("utf-8", "surrogateescape").removesuffix("\n")


@pytest.mark.parametrize(("target", "utf8", "seen"), recorded_paths())
def test_reads_a_path_as_the_reference_did(target, utf8, seen):
    settings = Settings(push_enable_utf8_names=utf8)
    assert outcome(target, settings) == seen


@pytest.mark.parametrize(
    ("path", "labels"),
    [
        (b"/metrics/job/a%2Fb", {"job": "a/b"}),
        (b"/metrics/job/a%2Fb/c/d", {"job": "a/b", "c": "d"}),
        (b"/metrics/job/dc/path/%2Fvar%2Ftmp", {"job": "dc", "path": "/var/tmp"}),
        (b"/metrics/job/j/instance//x/y", {"job": "j", "instance": "", "x": "y"}),
        (b"/metrics/job/j/instance/", {"job": "j", "instance": ""}),
        (b"/metrics/job/j/x/..", {"job": "j", "x": ".."}),
        (b"/metrics/job/j/", {"job": "j"}),
        (b"/metrics/job@base64/YS9i/x@base64/L3Y=", {"job": "a/b", "x": "/v"}),
        (b"/metrics/job%40base64/Zm9v/x/%2F", {"job": "foo", "x": "/"}),
        (b"/metrics%2Fjob/foo", {"job": "foo"}),
    ],
)
def test_a_value_may_contain_a_slash_and_be_empty(path, labels):
    assert dict(grouping_key(path, SETTINGS).labels) == labels


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (b"/metrics/job//a/b", "job name is required"),
        (b"/metrics/job/j//", 'improper label name ""'),
        (b"/metrics/job/j/a%2Fb", 'odd number of components in label string "/a/b"'),
        (b"/metrics/job@base64/Z/a", 'invalid base64 encoding in job name "": illegal base64'),
    ],
)
def test_says_why_a_path_names_no_group(path, message):
    with pytest.raises(InvalidGroupingKey, match=re.escape(message)):
        grouping_key(path, SETTINGS)


def test_a_path_of_very_many_labels_is_refused_before_they_are_read():
    path = b"/metrics/job/j" + b"".join(b"/l%d/x" % index for index in range(5000))
    with pytest.raises(LimitExceeded, match="the path has 5000 labels, more than 256") as caught:
        grouping_key(path, SETTINGS)
    assert caught.value.status == 413
    assert len(grouping_key(path, Settings(limit_labels_per_series=0)).labels) == 5001


def test_a_group_of_more_labels_than_are_allowed_now_can_still_be_named():
    path = b"/metrics/job/j" + b"".join(b"/l%d/x" % index for index in range(1000))
    assert len(grouping_key(path, SETTINGS).labels) == 1001


def test_the_route_prefix_is_not_part_of_the_group():
    settings = Settings(web_route_prefix="/a/b")
    assert grouping_key(b"/a/b/metrics/job/j/x/y", settings).labels == (("job", "j"), ("x", "y"))


@given(st.binary())
def test_any_path_below_a_push_route_names_a_group_or_is_refused(tail):
    path = b"/metrics/job/" + tail.replace(b"?", b"")
    if push_path(SETTINGS.route_prefix)(path):
        assert outcome(path, SETTINGS)


@given(st.text("/.%2eFa", max_size=12))
def test_a_path_is_one_of_pushes_if_it_can_be_decoded(tail):
    path = b"/metrics/job/" + tail.encode()
    try:
        unpercent(path)
    except ValueError:
        well_formed = False
    else:
        well_formed = tail != ""
    assert bool(push_path(SETTINGS.route_prefix)(path)) == well_formed


@pytest.mark.parametrize(
    ("path", "url"),
    [(b"/a b/%", "/a%20b/%25"), (b"/\xe4/~-_.", "/%E4/~-_."), (b"/a@b:c", "/a@b:c")],
)
def test_escapes_paths_as_go_does(path, url):
    assert escaped(path) == url


@pytest.mark.parametrize(
    ("labels", "path"),
    [
        ({"job": "foo"}, "metrics/job/foo"),
        ({"job": "a/b", "x": "y"}, "metrics/job@base64/YS9i/x/y"),
        ({"job": "j", "a": "1", "zz": ""}, "metrics/job/j/a/1/zz@base64/="),
        ({"job": "ÿ?>"}, "metrics/job@base64/w78_Pg=="),
    ],
)
def test_a_group_has_a_path_that_names_it(labels, path):
    assert path_of(GroupingKey(labels.items()), SETTINGS) == path


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("foo.bar", "U__foo_2e_bar"),
        ("a/b@base64", "U__a_2f_b_40_base64"),
        ("U__foo_2e_bar", "U__U____foo__2e__bar"),
        ("😊", "U___1f60a_"),
    ],
)
def test_names_that_a_path_cannot_carry_are_escaped(name, written):
    path = path_of(GroupingKey({"job": "j", name: "v"}.items()), UTF8)
    assert path == f"metrics/job/j/{written}/v"


UTF8_TEXT = st.text(st.characters(codec="utf-8"))
NAMES = UTF8_TEXT.filter(lambda name: name and not name.startswith("__") and name != "job")


@given(st.dictionaries(NAMES, UTF8_TEXT), UTF8_TEXT.filter(bool), st.booleans())
@example({"U__\U0010ffff": "x"}, "j", True)
@example({"U__a_": "x"}, "j", True)
def test_a_path_names_its_group_or_is_not_there(labels, job, utf8):
    settings = Settings(push_enable_utf8_names=utf8, web_route_prefix="/pre/fix")
    this = GroupingKey({**labels, "job": job}.items())
    path = path_of(this, settings)
    assert not path or grouping_key(f"/pre/fix/{path}".encode(), settings) == this
