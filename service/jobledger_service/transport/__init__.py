"""gRPC: the server, the life of one call, errors, checks, TLS. It knows no job."""
