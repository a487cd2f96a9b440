"""gRPC: a call comes in, its reply, stream or status goes out. It knows no job."""
