"""The module ``zstd`` of the standard library, or its backport for Python 3.11 to 3.13."""

import sys

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["zstd"]
