import base64
import fnmatch

from hypothesis import given, strategies as st

from pushgate.server.access.config import Grant, Permission
from pushgate.server.access.credentials import Identity, user_and_password

GLOBS = st.text("ab*?[-]!", max_size=6)
WORDS = st.sampled_from(["push", "delete", "scrape", "read", "admin"])
GRANTS = st.lists(
    st.builds(
        Grant,
        allow=st.lists(WORDS, min_size=1, max_size=3).map(tuple),
        jobs=st.none() | st.lists(GLOBS, min_size=1, max_size=3).map(tuple),
    ),
    max_size=3,
)


def may_obviously(grants: list[Grant], permission: Permission, job: str | None) -> bool:
    """Say what Identity.may() means, one glob at a time."""
    if permission in {Permission.ANY, Permission.HEALTH}:
        return True
    for grant in grants:
        if permission in grant.allow:
            if not grant.jobs:
                return True
            if job is not None and any(fnmatch.fnmatchcase(job, glob) for glob in grant.jobs):
                return True
    return False


@given(GRANTS, st.sampled_from(Permission), st.none() | st.text("ab*-\n", max_size=6))
def test_compiled_grants_agree_with_the_obvious_loop(grants, permission, job):
    compiled = Identity("somebody", tuple(grants))
    assert compiled.may(permission, job) == may_obviously(grants, permission, job)


@given(st.text().filter(lambda user: ":" not in user), st.binary())
def test_basic_credentials_round_trip(user, password):
    parameter = base64.b64encode(user.encode() + b":" + password)
    assert user_and_password(parameter) == (user, password)


@given(st.binary())
def test_any_bytes_are_credentials_or_none(parameter):
    found = user_and_password(parameter)
    assert found is None or ":" not in found[0]
