"""Prometheus Pushgateway in Python: the server, and the client that pushes to it.

Names are imported when they are first used, so that ``import pushgate`` costs next to nothing, and
``pushgate serve`` never loads the client.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pushgate.version import __version__ as __version__

if TYPE_CHECKING:
    from prometheus_client import (
        Counter as Counter,
        Enum as Enum,
        Gauge as Gauge,
        Info as Info,
        Summary as Summary,
    )

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
    from pushgate.errors import (
        ConfigurationError as ConfigurationError,
        EncodingError as EncodingError,
        PushAuthError as PushAuthError,
        PushConnectionError as PushConnectionError,
        PushgateError as PushgateError,
        PushgatewayError as PushgatewayError,
        PushHTTPError as PushHTTPError,
        PushRedirectError as PushRedirectError,
        PushRejectedError as PushRejectedError,
        PushServerError as PushServerError,
        PushTimeoutError as PushTimeoutError,
    )
    from pushgate.instruments import (
        Histogram as Histogram,
        Unit as Unit,
        exponential_buckets as exponential_buckets,
        linear_buckets as linear_buckets,
    )

_HOMES = {
    "prometheus_client": "Counter Enum Gauge Info Summary",
    "pushgate.client.aio": "AsyncPushGateway",
    "pushgate.client.gateway": "PushGateway",
    "pushgate.client.group_list": "ListedGroup",
    "pushgate.client.results": "GatewayStatus Group Payload PushResult",
    "pushgate.client.retry": "Retry",
    "pushgate.errors": "ConfigurationError EncodingError PushAuthError PushConnectionError"
    " PushHTTPError PushRedirectError PushRejectedError PushServerError PushTimeoutError"
    " PushgateError PushgatewayError",
    "pushgate.instruments": "Histogram Unit exponential_buckets linear_buckets",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605  one list, not two
_SUBMODULES = {"client", "compat", "errors", "instruments", "properties", "testing"}


def __getattr__(name: str) -> Any:
    # Submodules, so that a program can write pushgate.compat after import pushgate.
    if name in _SUBMODULES:
        return import_module(f"pushgate.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'pushgate' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value  # the next use does not come here
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
