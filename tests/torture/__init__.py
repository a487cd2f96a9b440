"""The torture harness: a recorded load, faults beneath it, and a checker of the history guarantee by guarantee."""

import os

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # that a server was killed is no news
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # processes are started beside open channels
