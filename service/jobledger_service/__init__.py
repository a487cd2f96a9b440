"""Jobledger: the system of record for long-running jobs, served over gRPC."""

from importlib.metadata import version
from typing import Final

VERSION: Final = version("jobledger-service")
