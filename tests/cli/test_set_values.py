import pytest

from tests.cli.commands import families, process, pushgate
from tests.client.rogue import rogue


def test_set_pushes_gauges_and_keeps_the_rest():
    with rogue() as server:
        done = pushgate(
            "set", "-a", server.url, "-j", "j", "rows=3", 'size{a="x=y"}=1e3', 'size{a="z"}=-1'
        )
    assert done.exit_code == 0
    [request] = server.seen
    assert request.method == "POST"
    found = families(request)
    assert found["rows"].type == "gauge"
    sizes = {sample.labels["a"]: sample.value for sample in found["size"].samples}
    assert sizes == {"x=y": 1000, "z": -1}


@pytest.mark.parametrize(
    "value", ["rows", "rows=", "ro ws=1", "rows=x", "rows=1 2", "rows{a=1}=1", 'rows{a="\n"}=1']
)
def test_set_refuses_what_is_no_value_and_names_it(value):
    done = pushgate("set", "-j", "j", "-a", "h:1", "good=1", value)
    assert done.exit_code == 3
    assert repr(value) in done.stderr


def test_set_refuses_a_label_of_the_group_unless_it_may_clash():
    with rogue() as server:
        target = ("set", "-a", server.url, "-j", "j", 'rows{job="x"}=1')
        refused = pushgate(*target)
        assert refused.exit_code == 3
        assert "--on-label-clash allow" in refused.stderr
        assert pushgate(*target, "--on-label-clash", "allow").exit_code == 0
    assert len(server.seen) == 1


def test_an_argument_that_is_not_utf8_is_no_traceback():
    for values in (['m{f="caf\udce9"}=1'], ["-j", "caf\udce9", "m=1"], ["-g", "a=\udce9", "m=1"]):
        done = process("set", "-a", "localhost:1", "-j", "j", *values, errors="surrogateescape")
        assert done.returncode in {2, 3}
        assert "is not valid UTF-8" in done.stderr
        assert "Traceback" not in done.stderr
