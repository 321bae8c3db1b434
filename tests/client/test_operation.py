"""A call is written once, as a coroutine, and is a method of both gateways."""

import asyncio
import inspect

import pytest

from pushgate import AsyncPushGateway, ConfigurationError, PushGateway, PushResult
from pushgate.client.operation import finished
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


def test_a_coroutine_that_waits_for_a_loop_is_not_finished_without_one():
    with pytest.raises(RuntimeError, match="event loop"):
        finished(asyncio.sleep(0))


def test_a_token_that_cannot_be_had_means_not_ready(caller):
    def token():
        raise OSError("no token")

    gateway = caller.make("h:1", bearer_token=token)
    with pytest.raises(ConfigurationError, match="no token"):
        caller.call(gateway, "push", [])
    unreadable = caller.make("h:1", bearer_token_file="/absent")
    assert caller.call(unreadable, "ready") is False
    assert fails(caller, unreadable, method="status").key == "bearer_token_file"
