"""`make torture`: one run, from a seed; or `check FOLDER`: a recorded history again."""

import argparse
import asyncio
import random
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.torture.assembly import HOSTILE, STORES
from tests.torture.checks import CHECKS, Violation, check
from tests.torture.history import History
from tests.torture.run import Torture

KEPT = Path(".torture")
"""Where the histories of failures are kept."""
SHOWN = 40


def show(violations: Sequence[Violation]) -> None:
    """Print the first violations."""
    for violation in violations[:SHOWN]:
        print(f"VIOLATION {str(violation)[:1_500]}")
    if len(violations) > SHOWN:
        print(f"and {len(violations) - SHOWN} more")


def torture(store: str, minutes: float, seed: int) -> int:
    """Run, print what was found, and return the exit code; the history of a failure is kept."""
    folder = KEPT / f"{store}-{seed}"
    print(f"To repeat: make torture STORE={store} SEED={seed} MINUTES={minutes:g}", flush=True)
    run = Torture(store, minutes * 60, seed, folder, lambda words: print(words, flush=True))
    asyncio.run(run.run())
    began = time.monotonic()
    history, violations = run.checked()
    show(violations)
    hostile = [call for call in history.calls if call.owner == HOSTILE]
    messages = sum(len(call.messages) for call in history.calls)
    print(
        f"{store}, seed {seed}: faults {run.told_faults()}; {len(history.calls):,} operations, "
        f"{len(hostile):,} of them hostile, to {len({call.method for call in hostile})} methods; "
        f"{messages:,} messages, {len(history.events):,} events; {len(CHECKS)} guarantees and invariants checked in "
        f"{time.monotonic() - began:.0f} s; {len(violations)} violations"
    )
    if violations:
        print(f"the history is in {folder}; make it be checked again: python -m tests.torture check {folder}")
    else:
        shutil.rmtree(folder)
    return int(bool(violations))


def main(arguments: Sequence[str]) -> int:
    """Return 1 when a guarantee was broken."""
    if arguments[:1] == ["check"]:
        violations = check(History.load(Path(arguments[1])))
        show(violations)
        print(f"{len(violations)} violations")
        return int(bool(violations))
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--store", choices=STORES, default=STORES[0])
    parser.add_argument("--minutes", type=float, default=2, help="how long the load lasts")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = parser.parse_args(arguments)
    return torture(given.store, given.minutes, given.seed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
