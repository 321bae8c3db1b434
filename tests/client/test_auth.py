import asyncio

import pytest

from pushgate import (
    AsyncPushGateway,
    ConfigurationError,
    PushAuthError,
    PushGateway,
    PushTimeoutError,
)
from tests.client.rogue import answer, read_request, rogue
from tests.named_pipes import pipe

BASIC = "Basic TXk6cMOkc3M="  # My:päss


def sent(server):
    return [request.headers.get("authorization") for request in server.seen]


@pytest.mark.parametrize(
    ("options", "header"),
    [
        ({"basic_auth": ("My", "päss")}, BASIC),
        ({"bearer_token": "xxx"}, "Bearer xxx"),
        ({"bearer_token": lambda: "yyy"}, "Bearer yyy"),
        ({"bearer_token": "pasted\n"}, "Bearer pasted"),
        ({"headers": {"Authorization": "Custom z"}}, "Custom z"),
        ({}, None),
    ],
)
def test_each_kind_of_credentials(caller, options, header):
    with rogue(answer(202)) as server:
        caller.call(caller.make(server.url, job="j", **options), "delete")
    assert sent(server) == [header]


def test_credentials_in_the_address_are_basic_auth(caller):
    with rogue() as server:
        url = server.url.replace("://", "://My:p%C3%A4ss@")
        caller.call(caller.make(url, job="j"), "delete")
    assert sent(server) == [BASIC]


def needs(token):
    def play(connection, gateway):
        request = read_request(connection, gateway)
        right = request.headers.get("authorization") == f"Bearer {token}"
        status = b"200 OK" if right else b"401 Unauthorized"
        connection.sendall(
            b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )

    return play


def test_a_token_file_is_read_again_when_it_changes(caller, tmp_path):
    file = tmp_path / "token"
    file.write_text("one\n")
    with rogue(needs("one"), needs("one"), needs("two")) as server:
        gateway = caller.make(server.url, job="j", bearer_token_file=file)
        caller.call(gateway, "delete")
        caller.call(gateway, "delete")
        (tmp_path / "new").write_text("two\n")
        (tmp_path / "new").rename(file)
        caller.call(gateway, "delete")
    assert sent(server) == ["Bearer one", "Bearer one", "Bearer two"]


def test_a_token_from_a_pipe_serves_every_push(caller, tmp_path):
    with rogue(needs("one")) as server, pipe(tmp_path / "token", b"one\n") as path:
        gateway = caller.make(server.url, job="j", bearer_token_file=path)
        caller.call(gateway, "delete")
        caller.call(gateway, "delete")
    assert sent(server) == ["Bearer one", "Bearer one"]


def test_a_pipe_is_not_read_again_after_a_refusal(caller, tmp_path):
    with rogue(needs("right")) as server, pipe(tmp_path / "token", b"wrong\n") as path:
        gateway = caller.make(server.url, job="j", bearer_token_file=path)
        with pytest.raises(PushAuthError, match="was 401"):
            caller.call(gateway, "delete")
    assert len(server.seen) == 1


def test_a_pipe_that_nobody_writes_a_token_to_is_said(caller, tmp_path, monkeypatch):
    monkeypatch.setattr("pushgate.properties.files._PIPE_SECONDS", 0.1)
    with pipe(tmp_path / "token") as path:
        gateway = caller.make("localhost:1", job="j", bearer_token_file=path)
        with pytest.raises(ConfigurationError, match="cannot be read: nothing came from the pipe"):
            caller.call(gateway, "delete")


def test_a_refused_token_is_asked_for_once_more(caller):
    tokens = iter(["old", "new", "later"])
    with rogue(needs("new")) as server:
        gateway = caller.make(server.url, job="j", bearer_token=lambda: next(tokens))
        assert caller.call(gateway, "delete").attempts == 2
    with rogue(needs("never")) as server:
        gateway = caller.make(server.url, job="j", bearer_token=lambda: "x")
        with pytest.raises(PushAuthError):
            caller.call(gateway, "delete")
    assert len(server.seen) == 2


def test_a_fixed_token_that_is_refused_is_not_sent_again(caller):
    with rogue(needs("right")) as server, pytest.raises(PushAuthError, match="was 401"):
        caller.call(caller.make(server.url, bearer_token="wrong"), "delete")
    assert len(server.seen) == 1


@pytest.mark.anyio
async def test_a_coroutine_function_may_give_the_token(anyio_backend):
    async def token():
        return "zzz"

    with rogue() as server:
        await AsyncPushGateway(server.url, bearer_token=token, properties=False).delete()
    assert sent(server) == ["Bearer zzz"]


@pytest.mark.anyio
async def test_a_token_that_does_not_come_does_not_hold_a_push_beyond_its_deadline(anyio_backend):
    gateway = AsyncPushGateway(
        "h:1", bearer_token=lambda: asyncio.sleep(30, "zzz"), deadline=0.05, properties=False
    )
    with pytest.raises(PushTimeoutError, match="while waiting for the token") as caught:
        await gateway.delete()
    assert caught.value.phase == "deadline"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bearer_token": " "}, "The bearer token is empty"),
        ({"bearer_token": "s3\r\nX: cret"}, "contains a line break or control character"),
        ({"bearer_token": "s3crét"}, "token is not ASCII"),
        ({"headers": {"X-Key": "s3cret "}}, "'X-Key' contains .* or ends with a blank"),
        ({"headers": {"X-Key": "s3\x0bcret"}}, "'X-Key' contains a line break or control"),
        ({"headers": {"X-Key": lambda: "s3crét"}}, "'X-Key' is not ASCII"),
        ({"headers": {"X Key": "s3cret"}}, "No header can have the name 'X Key'"),
    ],
)
def test_what_no_header_can_hold_is_refused_and_never_shown(caller, options, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        caller.call(caller.make("localhost:1", job="j", **options), "delete")
    assert "s3" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "is empty"),
        ("s3cret\nagain", "contains a line break or control character"),
        ("s3crét", "is not ASCII"),
    ],
)
def test_a_file_without_a_usable_token_is_named(caller, tmp_path, content, what):
    (tmp_path / "token").write_text(content)
    gateway = caller.make("localhost:1", job="j", bearer_token_file=tmp_path / "token")
    with pytest.raises(ConfigurationError, match=f"token file {tmp_path}/token {what}") as caught:
        caller.call(gateway, "delete")
    assert caught.value.key == "bearer_token_file"
    assert "s3" not in str(caught.value)


def test_a_variable_without_a_usable_token_is_named(caller, monkeypatch):
    monkeypatch.setenv("PUSHGATE_BEARER_TOKEN", "s3cret\nagain")
    with pytest.raises(ConfigurationError, match="The bearer token contains a line") as caught:
        caller.make("localhost:1", job="j", properties=None)
    assert caught.value.source == "$PUSHGATE_BEARER_TOKEN"


async def nothing():
    return None


async def sealed():
    raise TimeoutError("the vault is slow")


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (nothing, "returned NoneType instead of text"),
        (sealed, "failed: TimeoutError: the vault is slow"),
    ],
)
def test_a_coroutine_function_that_gives_no_token_is_named(function, reason):
    gateway = AsyncPushGateway("localhost:1", job="j", bearer_token=function, properties=False)
    with pytest.raises(ConfigurationError, match=f"bearer_token function {reason}"):
        asyncio.run(gateway.delete())


@pytest.mark.parametrize("option", ["bearer_token", "headers"])
def test_a_function_that_fails_is_named(caller, option):
    def fail():
        raise OSError("the vault is sealed")

    given = {"X-Token": fail} if option == "headers" else fail
    gateway = caller.make("localhost:1", job="j", **{option: given})
    with pytest.raises(ConfigurationError, match="function failed: OSError: the vault is sealed"):
        caller.call(gateway, "delete")


def test_a_coroutine_function_needs_the_async_gateway():
    gateway = PushGateway("h:1", bearer_token=nothing, properties=False)
    with pytest.raises(ConfigurationError, match="needs AsyncPushGateway"):
        gateway.delete()


@pytest.mark.parametrize(
    "options",
    [
        {"basic_auth": ("u", "p"), "bearer_token": "t"},
        {"bearer_token": "t", "bearer_token_file": "f"},
        {"address": "u:p@h:1", "bearer_token": "t"},
        {"bearer_token": "t", "headers": {"authorization": "x"}},
    ],
)
def test_contradictions_are_refused_without_showing_a_secret(caller, options):
    with pytest.raises(ConfigurationError, match="Give ") as caught:
        caller.make(**options)
    assert "u:p" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "reason"), [("gone", "No such file"), ("token", "it is not UTF-8")]
)
def test_a_token_file_that_cannot_be_read_is_a_configuration_error(caller, tmp_path, name, reason):
    (tmp_path / "token").write_bytes(b"t\xffken\n")
    gateway = caller.make("h:1", bearer_token_file=tmp_path / name)
    with pytest.raises(ConfigurationError, match=f"cannot be read: {reason}"):
        caller.call(gateway, "delete")
