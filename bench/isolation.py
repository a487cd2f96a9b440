"""Isolation: `python -m bench.isolation` shows an owner's latencies alone, and beside each attack of another."""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from .attacker import ATTACKS
from .databases import STORES, fresh
from .isolation_report import Pair, errors, table
from .processes import ROOT, SERVER, Generator, Served, StartError, TaskError, jobledger, rss_kib, tasked
from .report import circumstances

LATEST: Final = ROOT / "bench" / "results" / "isolation.json"
INTERRUPTED: Final = 130
KEYS: Final = 4
"""How many keys the attacker has."""


def _print(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def _key(database: str, owner: str) -> str:
    """Make an owner's key, before the server has the database."""
    command: list[str | Path] = [
        SERVER,
        "keys",
        "--database",
        database,
        "create",
        owner,
        "--owner",
        owner,
        "-o",
        "json",
    ]
    roles = ["--role", "caller", "--role", "worker"]
    made = subprocess.run([*command, *roles], check=True, capture_output=True, text=True)
    token: str = json.loads(made.stdout)["token"]
    return token


@contextmanager
def _running(store: str) -> Iterator[tuple[Served, Generator, Generator]]:
    """Start the server, the bystander and the attacker, and stop them again."""
    with tempfile.TemporaryDirectory(prefix="jobledger-bench-") as name:
        folder = Path(name)
        with fresh(store, folder) as database:
            mine, theirs = _key(database, "bystander"), [_key(database, "attacker") for _ in range(KEYS)]
            with (
                jobledger(folder, database, "--auth", "keys") as served,
                tasked("bystander", [served.address, mine], folder) as bystander,
                tasked("attacker", [served.address, *theirs], folder) as attacker,
            ):
                yield served, bystander, attacker


def measure(store: str, names: Sequence[str], seconds: float) -> Iterator[Pair]:
    """Measure each attack: the bystander alone, then beside it, for so long each."""
    with _running(store) as (served, bystander, attacker):
        bystander.do("prepare")
        for name in names:
            _print(f"bench.isolation: {name}: making it ready")
            attacker.do("prepare", name=name)
            bystander.do("begin")
            time.sleep(seconds)
            alone = bystander.do("end")
            attacker.do("open", name=name)
            bystander.do("begin")
            got = attacker.do("attack", name=name, seconds=seconds)
            beside = bystander.do("end")
            _print(f"  bystander's errors {beside['errors'] or 'none'}; the attacker got {got['codes']}")
            yield Pair(name, alone, beside, got, rss_kib(served.pid))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.isolation", description=__doc__)
    parser.add_argument("--store", choices=STORES, default="sqlite", help="what Jobledger runs on (default: sqlite)")
    parser.add_argument("--seconds", type=float, default=4.0, help="how long each measure lasts (default: 4)")
    parser.add_argument("--only", default="", metavar="TEXT", help=f"attacks whose name has it: {', '.join(ATTACKS)}")
    parser.add_argument("--json", type=Path, default=LATEST, metavar="FILE", help="where the JSON goes")
    return parser.parse_args()


def _measured(arguments: argparse.Namespace) -> int:
    """Measure, print the tables and write the JSON; the bystander must not have had an error."""
    began = time.monotonic()
    about = circumstances({"store": arguments.store, "seconds": arguments.seconds, "only": arguments.only})
    names = [name for name in ATTACKS if arguments.only.lower() in name.lower()]
    pairs = list(measure(arguments.store, names, arguments.seconds))
    print(table(pairs))
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(about | {"attacks": [asdict(pair) for pair in pairs]}, indent=2) + "\n")
    _print(f"bench.isolation: {time.monotonic() - began:.0f} s; written to {arguments.json}")
    return 1 if errors(pairs) else 0


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main() -> int:
    """Run the command line."""
    signal.signal(signal.SIGTERM, _interrupt)
    arguments = _arguments()
    try:
        return _measured(arguments)
    except KeyboardInterrupt:
        _print("bench.isolation: interrupted; everything is stopped")
        return INTERRUPTED
    except (StartError, TaskError, subprocess.CalledProcessError) as error:
        _print(f"bench.isolation: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
