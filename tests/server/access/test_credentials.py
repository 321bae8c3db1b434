import base64

from hypothesis import given, strategies as st

from pushgate.server.access.credentials import user_and_password


@given(st.text().filter(lambda user: ":" not in user), st.binary())
def test_basic_credentials_round_trip(user, password):
    parameter = base64.b64encode(user.encode() + b":" + password)
    assert user_and_password(parameter) == (user, password)


@given(st.binary())
def test_any_bytes_are_credentials_or_none(parameter):
    found = user_and_password(parameter)
    assert found is None or ":" not in found[0]
