"""The base units of Prometheus, and the conversions into them."""


class Unit:
    """Names of base units, to be the ``unit=`` of a metric.

    Example:
        >>> from pushgate import Histogram
        >>> took = Histogram("request", "How long it took", unit=Unit.SECONDS, registry=None)
        >>> took.observe(Unit.millis_to_seconds(250))
    """

    RATIO = "ratio"
    SECONDS = "seconds"
    BYTES = "bytes"
    CELSIUS = "celsius"
    JOULES = "joules"
    GRAMS = "grams"
    METERS = "meters"
    VOLTS = "volts"
    AMPERES = "amperes"

    @staticmethod
    def nanos_to_seconds(nanos: float) -> float:
        """Return *nanos* nanoseconds in seconds."""
        return nanos / 1e9

    @staticmethod
    def millis_to_seconds(millis: float) -> float:
        """Return *millis* milliseconds in seconds."""
        return millis / 1e3

    @staticmethod
    def kilobytes_to_bytes(kilobytes: float) -> float:
        """Return *kilobytes* (of 1024 bytes) in bytes."""
        return kilobytes * 1024
