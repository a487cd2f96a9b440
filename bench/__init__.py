"""Measures Jobledger against a floor: a bare grpc.aio server that answers with the very same bytes."""
