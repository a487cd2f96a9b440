"""Protobuf by its bytes: an encoded message comes in, checked; encoded parts go out, joined."""
