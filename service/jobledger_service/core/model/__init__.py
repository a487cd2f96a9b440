"""Values and rules: pure, without I/O, clock, randomness or protobuf."""
