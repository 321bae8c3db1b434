"""What a section of the web configuration refuses by itself, and what the whole asks for."""

import fnmatch

import pytest
from hypothesis import given, strategies as st

from pushgate.server.access.config import (
    BearerToken,
    ClaimRule,
    Grant,
    Identity,
    JwtIssuer,
    Permission,
    Permissions,
    WebConfig,
    check_known,
)

RULE = ClaimRule(claim="sub", value="*", allow=("push",))
ISSUER = {"issuer": "i", "audience": "a", "permissions": (RULE,)}


@pytest.mark.parametrize(
    ("section", "keys", "complaint"),
    [
        (Grant, {"allow": ()}, "must list at least one permission"),
        (Grant, {"allow": ("pusch",)}, "unknown permission: pusch; use push or delete"),
        (Grant, {"allow": ("health",)}, "unknown permission: health"),
        (Grant, {"allow": ("push",), "jobs": ()}, "leave it out to allow every job"),
        (ClaimRule, {"claim": ("a", ""), "value": "x", "allow": ("push",)}, "needs a claim"),
        (ClaimRule, {"claim": "a", "value": "", "allow": ("push",)}, "needs a claim"),
        (JwtIssuer, {**ISSUER, "audience": "", "jwks": "{}"}, "audience and permissions are"),
        (JwtIssuer, ISSUER, '"i" needs one of jwks_file or jwks_url'),
        (JwtIssuer, {**ISSUER, "jwks_file": "f", "jwks_url": "https://i"}, "needs one of"),
        (JwtIssuer, {**ISSUER, "jwks_url": "http://i/keys"}, "must be an https URL"),
        (JwtIssuer, {**ISSUER, "jwks_url": "https://[i/keys"}, "must be an https URL"),
        (BearerToken, {"name": "", "sha256": "0" * 64}, "needs a name"),
        (BearerToken, {"name": "ci"}, '"ci" needs one of token_file or sha256'),
        (BearerToken, {"name": "ci", "sha256": "secret"}, "64 hexadecimal digits"),
    ],
)
def test_what_could_not_work_is_refused(section, keys, complaint):
    with pytest.raises(ValueError, match=complaint.replace("(", r"\(")):
        section(**keys)


def test_a_grant_covers_what_it_lists():
    grant = Grant(allow=("push", "scrape"))
    assert [one for one in Permission if grant.covers(one, "x")] == ["push", "scrape"]


def test_a_claim_may_be_nested():
    assert RULE.path == ("sub",)
    assert ClaimRule(claim=("a", "b"), value="x", allow=("push",)).path == ("a", "b")


def test_of_many_names_the_closest_is_proposed():
    with pytest.raises(ValueError, match=r"^unknown thing: name11x; use name11$"):
        check_known("thing", "name11x", [f"name{number}" for number in range(10, 30)])
    check_known("thing", "b", ["a", "b"])


@pytest.mark.parametrize(
    ("config", "required"),
    [
        (WebConfig(), False),
        (WebConfig(headers={"X-Frame-Options": "deny"}), False),
        (WebConfig(users={"alice": "$2b$"}), True),
        (WebConfig(bearer_tokens=(BearerToken(name="ci", sha256="0" * 64),)), True),
        (WebConfig(jwt=(JwtIssuer(**ISSUER, jwks="{}"),)), True),
        (WebConfig(permissions=Permissions()), False),
        (WebConfig(permissions=Permissions(certificates={"a.example": ()})), True),
    ],
)
def test_credentials_are_required_where_some_are_configured(config, required):
    assert config.requires_credentials is required


def test_the_hashes_of_passwords_do_not_show():
    assert "$2b$" not in repr(WebConfig(users={"alice": "$2b$"}))


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
