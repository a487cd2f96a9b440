"""Jobledger: the system of record for long-running jobs, served over gRPC."""

from typing import Final

__version__ = "0.1.0"

VERSION: Final = __version__
