"""The push client: what a push is (pure), and who waits for it (blocking or asyncio)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pushgate.client.aio import AsyncPushGateway as AsyncPushGateway
    from pushgate.client.gateway import PushGateway as PushGateway
    from pushgate.client.group_list import ListedGroup as ListedGroup
    from pushgate.client.results import (
        GatewayStatus as GatewayStatus,
        Group as Group,
        Payload as Payload,
        PushResult as PushResult,
    )
    from pushgate.client.retry import Retry as Retry

__all__ = [
    "AsyncPushGateway",
    "GatewayStatus",
    "Group",
    "ListedGroup",
    "Payload",
    "PushGateway",
    "PushResult",
    "Retry",
]

# Imported when first used: the gateway for asyncio alone loads asyncio.
_HOME_OF = {
    "AsyncPushGateway": "aio",
    "GatewayStatus": "results",
    "Group": "results",
    "ListedGroup": "group_list",
    "Payload": "results",
    "PushGateway": "gateway",
    "PushResult": "results",
    "Retry": "retry",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'pushgate.client' has no attribute {name!r}")
    value = getattr(import_module(f"pushgate.client.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value
