"""The push client: what a push is (pure), and who waits for it (blocking or asyncio)."""

from pushgate.client.aio import AsyncPushGateway
from pushgate.client.gateway import PushGateway
from pushgate.client.results import GatewayStatus, Group, Payload, PushResult
from pushgate.client.retry import Retry

__all__ = [
    "AsyncPushGateway",
    "GatewayStatus",
    "Group",
    "Payload",
    "PushGateway",
    "PushResult",
    "Retry",
]
