"""Use what was installed: a server on SQLite, the SDK and the command line beside it."""

import json
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from deploy.packages.environments import Environment
from deploy.packages.running import TrialError, clean_environment, run
from deploy.packages.wheels import ROOT

CALLS: Final = ROOT / "deploy" / "packages" / "calls.py"
READY: Final = "jobledger listening on "
START_SECONDS: Final = 60
MISSING_EXTRA: Final = 78


def migrate(service: Environment, directory: Path) -> None:
    """Make a database by `migrate`, which says the second time that nothing is left to do."""
    command = (service.program("jobledger-server"), "migrate", "--database", _database(directory))
    said = [run(*command, directory=directory).strip() for _ in range(2)]
    if said != ["the schema was upgraded to this version", "the schema is up to date"]:
        raise TrialError(f"jobledger-server migrate said {said}")


@contextmanager
def serving(service: Environment, directory: Path) -> Iterator[str]:
    """Run a server on the database, yield its address, and drain it."""
    command = (service.program("jobledger-server"), "serve", "--database", _database(directory))
    log = directory / "server.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [*command, "--listen", "127.0.0.1:0"],
            cwd=directory,
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            yield _address(process, log)
            process.send_signal(signal.SIGTERM)
            if status := process.wait(START_SECONDS):
                raise TrialError(f"the server ended with {status}:\n{log.read_text()}")
        finally:
            process.kill()


def call(client: Environment, target: str) -> str:
    """Make the calls of `calls.py` with an environment's SDK, and return the id of its job."""
    return run(client.program("python"), "-I", CALLS, target).strip()


def use_command_line(client: Environment, target: str, job_id: str) -> None:
    """Get, create and cancel jobs with `jobledger`."""
    jobledger = client.program("jobledger")
    environment = {"JOBLEDGER_TARGET": target}
    got = json.loads(run(jobledger, "get", job_id, "--output", "json", environment=environment))
    if got["state"] != "JOB_STATE_COMPLETED":
        raise TrialError(f"jobledger get says {got}")
    run(jobledger, "create", "packages.cancelled", "--job-id", "cancelled", environment=environment)
    run(jobledger, "cancel", "cancelled", environment=environment)
    listed = run(jobledger, "list", "--state", "CANCELLED", environment=environment)
    if "cancelled" not in listed:
        raise TrialError(f"jobledger list says {listed}")


def start_programs(environment: Environment) -> None:
    """Start each program that our packages installed, as far as its help."""
    for program in environment.path.glob("bin/jobledger*"):
        run(program, "--help")


def check_missing_extra(client: Environment) -> None:
    """Check that the command line says how to install what it lacks."""
    asked = subprocess.run([client.program("jobledger"), "--help"], capture_output=True, text=True, check=False)
    if (asked.returncode, "jobledger-client[cli]" in asked.stderr) != (MISSING_EXTRA, True):
        raise TrialError(f"jobledger without its extra ended with {asked.returncode}:\n{asked.stderr}")


def _database(directory: Path) -> str:
    return f"sqlite:///{directory / 'trial.db'}"


def _address(process: "subprocess.Popen[str]", log: Path) -> str:
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], START_SECONDS)
    line = process.stdout.readline() if readable else ""
    if not line.startswith(READY):
        raise TrialError(f"the server did not start:\n{line}{log.read_text()}")
    return line.removeprefix(READY).strip()
