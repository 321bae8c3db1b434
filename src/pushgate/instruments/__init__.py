"""Instruments that prometheus_client does not have: the native histogram, units."""

from pushgate.instruments.histogram import Histogram, exponential_buckets, linear_buckets
from pushgate.instruments.unit import Unit

__all__ = ["Histogram", "Unit", "exponential_buckets", "linear_buckets"]
