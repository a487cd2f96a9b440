"""Fixtures of the tests of the client."""

import pytest

from tests.client.controlled import Played


@pytest.fixture
def service() -> Played:
    """Return a client with the default settings whose server the test plays."""
    return Played()
