"""The edge: the only room that speaks protobuf and gRPC."""
