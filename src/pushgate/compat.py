"""Drop-ins for the push functions of ``prometheus_client``: same names, same signatures.

They push the same text format, once, without runtime configuration. What they do
better: the gateway's own explanation is in the error (still an ``OSError``), the address
may hold credentials, and :func:`instance_ip_grouping_key` is not ``127.0.0.1``.

Example:
    >>> from pushgate.compat import push_to_gateway  # instead of prometheus_client
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias
from urllib.error import HTTPError

import httpx2
from prometheus_client.exposition import default_handler

from pushgate.client import PushGateway
from pushgate.client.address import DEFAULT_ADDRESS, instance_label, parse_address
from pushgate.client.source import Collector
from pushgate.properties.schema import Compression

Handler: TypeAlias = Callable[
    [str, str, float | None, list[tuple[str, str]], bytes], Callable[[], None]
]
_FOREVER = float("inf")


class HandlerTransport(httpx2.BaseTransport):
    """A ``handler`` of prometheus_client, as the transport of a :class:`PushGateway`.

    Args:
        handler: Such as ``functools.partial(basic_auth_handler, ...)``.
        timeout: Seconds, which the handler is given.
    """

    def __init__(self, handler: Handler, timeout: float | None = 30) -> None:
        self._handler = handler
        self._timeout = timeout

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Return success, or the answer in the handler's error; other errors come out."""
        headers = [(name.title(), value) for name, value in request.headers.items()]
        body = request.read()
        try:
            self._handler(str(request.url), request.method, self._timeout, headers, body)()
        except HTTPError as answer:
            with answer:
                return httpx2.Response(answer.code, content=answer.read())
        return httpx2.Response(202)


def push_to_gateway(
    gateway: str,
    job: str,
    registry: Collector,
    grouping_key: Mapping[str, Any] | None = None,
    timeout: float | None = 30,
    handler: Handler = default_handler,
    compression: Compression | None = None,
) -> None:
    """Replace the whole group; as ``prometheus_client.push_to_gateway``."""
    _gateway(gateway, job, registry, grouping_key, timeout, handler, compression).push()


def pushadd_to_gateway(
    gateway: str,
    job: str,
    registry: Collector | None,
    grouping_key: Mapping[str, Any] | None = None,
    timeout: float | None = 30,
    handler: Handler = default_handler,
    compression: Compression | None = None,
) -> None:
    """Replace the families of the same names; as ``prometheus_client.pushadd_to_gateway``."""
    _gateway(gateway, job, registry, grouping_key, timeout, handler, compression).push_add()


def delete_from_gateway(
    gateway: str,
    job: str,
    grouping_key: Mapping[str, Any] | None = None,
    timeout: float | None = 30,
    handler: Handler = default_handler,
) -> None:
    """Delete the group; as ``prometheus_client.delete_from_gateway``."""
    _gateway(gateway, job, None, grouping_key, timeout, handler, None).delete()


def instance_ip_grouping_key(gateway: str = DEFAULT_ADDRESS) -> dict[str, str]:
    """Return a grouping key with the address that packets to *gateway* would carry."""
    return {"instance": instance_label("ip", parse_address(gateway))}


def _gateway(
    address: str,
    job: str,
    registry: Collector | None,
    grouping_key: Mapping[str, Any] | None,
    timeout: float | None,
    handler: Handler,
    compression: Compression | None,
) -> PushGateway:
    return PushGateway(
        address,
        job=job,
        registry=registry,
        grouping_key=grouping_key,
        include_default_collectors=True,
        include_created=True,
        multiprocess=False,
        format="text",
        on_label_clash="allow",
        compression=compression,
        retry=0,
        deadline=timeout,
        connect_timeout=timeout or _FOREVER,
        read_timeout=timeout or _FOREVER,
        transport=None if handler is default_handler else HandlerTransport(handler, timeout),
        properties=False,
    )
