"""`make soak`: load, kills and retention for MINUTES, and then the slopes of all that must level off."""

import argparse
import asyncio
import random
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from tests.soak.run import Soak
from tests.support.databases import STORES

KEPT: Final = Path(".soak")
"""Where the samples of a run are kept in which something rose or was violated."""


def main(arguments: Sequence[str]) -> int:
    """Return 1 when something rose or was violated, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="how long")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--store", choices=STORES, default=STORES[0])
    options = parser.parse_args(arguments)
    print(f"To repeat: make soak SEED={options.seed} MINUTES={options.minutes:g} STORE={options.store}", flush=True)
    with tempfile.TemporaryDirectory(prefix="jobledger-soak-") as directory:
        soak = Soak(options.store, options.minutes * 60, options.seed, Path(directory), _print)
        try:
            asyncio.run(soak.run())
        except KeyboardInterrupt:
            print(f"\nstopped: {soak.summary()}")
            return 130
    if soak.report():
        return 0
    KEPT.mkdir(exist_ok=True)
    file = KEPT / f"{options.store}-{options.seed}.json"
    file.write_bytes(msgspec.json.encode(soak.points))
    print(f"the samples, as seconds and values by name, are in {file}")
    return 1


def _print(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
