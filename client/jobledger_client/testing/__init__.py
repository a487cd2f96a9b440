"""What tests of workers and producers need: a context to call a handler with, and a real server.

`jobledger_client.testing.fixtures` has the server as a fixture of pytest.
"""

from jobledger_client.testing._context import FakeContext
from jobledger_client.testing._server import running_server

__all__ = ["FakeContext", "running_server"]

FakeContext.__module__ = __name__
