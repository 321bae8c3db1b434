"""Runtime configuration: the ``prometheus.properties`` and ``IO_PROMETHEUS_*`` of client_java."""

from pushgate.properties.grammar import parse
from pushgate.properties.loader import (
    PrometheusProperties,
    default,
    load,
    reload,
    resolve,
    set_system_property,
)
from pushgate.properties.schema import MetricProperties

__all__ = [
    "MetricProperties",
    "PrometheusProperties",
    "default",
    "load",
    "parse",
    "reload",
    "resolve",
    "set_system_property",
]
