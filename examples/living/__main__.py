"""A server with living jobs, and the console beside it: `python -m examples.living`, until Ctrl-C."""

import argparse
import random
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from jobledger_client import JobClient, JobState
from jobledger_client.testing import running_server

from examples import processes
from examples.processes import BIN, say

from .population import KINDS, create_large, create_one

WORKERS: Final = ("gpu-1", "gpu-2", "cpu-1", "cpu-2")
MAX_UNFINISHED: Final = 24
_PAUSE_SECONDS: Final = 2.0


def live(client: JobClient, chance: random.Random) -> None:
    """Create, retry and cancel jobs for as long as the process runs."""
    while True:
        time.sleep(_PAUSE_SECONDS)
        step(client, chance)


def step(client: JobClient, chance: random.Random) -> None:
    """Do what people do with jobs: mostly create them."""
    unfinished = client.list_jobs(states=[JobState.QUEUED, JobState.RUNNING], page_size=MAX_UNFINISHED).page()
    if len(unfinished.jobs) < MAX_UNFINISHED:
        create_one(client, chance)
    what = chance.random()
    if what < 0.05:  # noqa: PLR2004 - one in twenty
        client.cancel_job(chance.choice(unfinished.jobs).job_id, reason="the customer changed his mind")
    elif what < 0.15:  # noqa: PLR2004 - one in ten
        for job in client.list_jobs(states=[JobState.FAILED], page_size=1).page().jobs:
            client.retry_job(job.job_id, reason="tried again by the on-call engineer")


def main() -> None:
    """Start the server, its workers and the console; print the address."""
    parser = argparse.ArgumentParser(prog="python -m examples.living", description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:8080", metavar="HOST:PORT", help="where the console listens")
    listen = parser.parse_args().listen
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jobledger-living-")))
        target = stack.enter_context(running_server(directory=folder))
        for name in WORKERS:
            stack.enter_context(processes.worker("examples.living.work", target, name))
        client = stack.enter_context(JobClient(target, api_key=""))
        chance = random.Random(2026)  # noqa: S311 - a simulation
        create_large(client)
        for kind in KINDS * 2:
            create_one(client, chance, kind)
        console = [str(BIN / "jobledger-console"), "--target", target, "--listen", listen]
        address = stack.enter_context(processes.announcing(console))
        say(f"\nThe console is at {address}\nThe server is at {target}\nCtrl-C ends all of it.")
        try:
            live(client, chance)
        except KeyboardInterrupt:
            say("\nstopped")
            sys.exit(130)


if __name__ == "__main__":
    main()
