"""The command line: `python -m bench` measures, prints a table and writes JSON."""

import argparse
import signal
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from . import h2load
from .databases import STORES
from .processes import StartError, TaskError
from .profiling import profile
from .report import LATEST, circumstances, table, write
from .suite import CASES, QUICK, WATCHES, Plan, running
from .system_calls import system_calls

INTERRUPTED = 130
PROFILED = 8.0
COUNTED = 3.0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--store", choices=STORES, help="what Jobledger runs on (default: sqlite)")
    parser.add_argument("--quick", action="store_true", help="one short round; numbers are rough")
    parser.add_argument("--rounds", type=int, help="pairs of every measure (default: 5)")
    parser.add_argument("--seconds", type=float, help="how long each measure lasts (default: 0.4)")
    parser.add_argument("--in-flight", type=int, nargs="+", metavar="N", help="calls in flight (default: 1 64 256)")
    parser.add_argument("--streams", type=int, nargs="+", metavar="N", help="watchers (default: 100 1000)")
    parser.add_argument(
        "--only",
        default="",
        metavar="TEXT",
        help=f"measures whose name has it: {', '.join((*CASES, *WATCHES, 'idle'))}",
    )
    parser.add_argument("--json", type=Path, default=LATEST, metavar="FILE", help="where the JSON goes")
    parser.add_argument("--profile", metavar="NAME", help="print where Jobledger's time goes in one measure, in C too")
    parser.add_argument("--system-calls", metavar="NAME", help="count the system calls of one measure (strace)")
    parser.add_argument(
        "--load", type=int, default=256, help="calls in flight, or watchers, of --profile and --system-calls"
    )
    parser.add_argument(
        "--generator",
        choices=("python", "h2load"),
        help=f"what sends the calls; h2load sends {' and '.join(h2load.CASES)}",
    )
    return parser.parse_args()


def _plan(arguments: argparse.Namespace) -> Plan:
    names = ("store", "rounds", "seconds", "in_flight", "streams", "only", "generator")
    chosen: dict[str, Any] = {name: getattr(arguments, name) for name in names if getattr(arguments, name)}
    return replace(QUICK if arguments.quick else Plan(), **chosen)


def _measure(plan: Plan, path: Path) -> None:
    if plan.generator == "h2load":
        h2load.require()
    about, began = circumstances(asdict(plan)), time.monotonic()
    with running(plan) as suite:
        idle = suite.idle() if plan.wants("idle") else None
        calls = list(suite.calls())
        watches = list(suite.watches())
    print(table(calls, watches, idle))
    write(path, about, calls, watches, idle)
    print(f"bench: {time.monotonic() - began:.0f} s; written to {path}", file=sys.stderr)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main() -> int:
    """Run the command line."""
    signal.signal(signal.SIGTERM, _interrupt)
    arguments = _arguments()
    try:
        if arguments.profile:
            print(profile(arguments.profile, arguments.load, arguments.seconds or PROFILED))
        elif arguments.system_calls:
            print(system_calls(arguments.system_calls, arguments.load, arguments.seconds or COUNTED))
        else:
            _measure(_plan(arguments), arguments.json)
    except KeyboardInterrupt:
        print("bench: interrupted; everything is stopped", file=sys.stderr)
        return INTERRUPTED
    except (StartError, TaskError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
