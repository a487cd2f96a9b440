"""The rules of jobs, chunks, leases and progress: pure values and functions, without I/O, clock or protobuf."""
