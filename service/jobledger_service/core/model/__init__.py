"""Values and rules: pure, without I/O, clock, chance or protobuf."""
