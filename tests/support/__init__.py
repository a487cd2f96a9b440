"""What the tests stand on: a real server process, both services over one channel, watches, and errors read apart."""
