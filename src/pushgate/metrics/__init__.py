"""Instruments that prometheus_client does not have: the native histogram, units."""

from pushgate.metrics.histogram import Histogram, exponential_buckets, linear_buckets
from pushgate.metrics.unit import Unit

__all__ = ["Histogram", "Unit", "exponential_buckets", "linear_buckets"]
