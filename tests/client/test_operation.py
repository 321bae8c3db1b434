"""A call is written once, as steps, and is a method of both gateways."""

import inspect
from collections.abc import Generator
from typing import Any

import pytest

from pushgate import AsyncPushGateway, PushGateway, PushResult
from pushgate.client.delivery import Pause
from tests.client.rogue import rogue
from tests.client.shared import fails


def test_both_gateways_have_the_same_signature_and_documentation():
    blocking, awaited = (
        inspect.signature(PushGateway.push),
        inspect.signature(AsyncPushGateway.push),
    )
    assert blocking == awaited
    assert blocking.return_annotation is PushResult
    assert PushGateway.push.__doc__ == AsyncPushGateway.push.__doc__
    assert inspect.iscoroutinefunction(AsyncPushGateway.push)
    assert not inspect.iscoroutinefunction(PushGateway.push)


def test_a_subclass_can_extend_a_call():
    class Counting(PushGateway):
        pushes = 0

        def push(self, *args, **options):
            self.pushes += 1
            return super().push(*args, **options)

    with rogue() as server:
        gateway = Counting(server.url, job="j", properties=False)
        gateway.push([])
    assert (gateway.pushes, len(server.seen)) == (1, 1)


def test_an_error_of_a_step_is_raised_where_the_step_was_yielded(caller):
    def steps() -> Generator[Any, Any, str]:
        with pytest.raises(TypeError):
            yield Pause("soon")
        return "went on"

    assert caller.call(caller.make("h:1"), "carry_out", steps()) == "went on"


def test_a_token_that_cannot_be_had_means_not_ready(caller):
    def token():
        raise OSError("no token")

    gateway = caller.make("h:1", bearer_token=token)
    with pytest.raises(OSError, match="no token"):
        caller.call(gateway, "push", [])
    unreadable = caller.make("h:1", bearer_token_file="/absent")
    assert caller.call(unreadable, "ready") is False
    assert fails(caller, unreadable, method="status").key == "bearer_token_file"
