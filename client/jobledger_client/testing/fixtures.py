"""Fixtures of pytest. Name this module in the conftest.py: `pytest_plugins = ["jobledger_client.testing.fixtures"]`."""

from collections.abc import Iterator

import pytest

from jobledger_client.testing._server import running_server


@pytest.fixture(scope="session")
def jobledger_server() -> Iterator[str]:
    """Run a server for all tests, on a temporary SQLite file; the value is its address."""
    with running_server() as target:
        yield target
