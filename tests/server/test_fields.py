import pytest

from pushgate.server.fields import Section, check_known


class Credentials(Section):
    password: str


def test_a_section_does_not_show_what_may_be_secret():
    assert repr(Credentials(password="secret")) == "Credentials(...)"


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (["push", "read"], "unknown permission: pusch; use push or read"),
        ([f"read{n}" for n in range(20)] + ["push"], "unknown permission: pusch; use push"),
        ([f"read{n}" for n in range(20)], "unknown permission: pusch"),
    ],
    ids=["a few", "many", "none is close"],
)
def test_an_unknown_name_is_refused_with_what_may_have_been_meant(known, message):
    check_known("permission", "push", [*known, "push"])
    with pytest.raises(ValueError, match="unknown") as refused:
        check_known("permission", "pusch", known)
    assert str(refused.value) == message
