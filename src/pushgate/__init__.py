"""Prometheus Pushgateway in Python: the server, and the client that pushes to it."""

__version__ = "0.1.0"
