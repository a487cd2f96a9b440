"""Build the packages into dist/, install them by the lines of the documents, and try all that was made."""

import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from deploy.packages import environments, image, schemas, trial, wheels
from deploy.packages.environments import Environment
from deploy.packages.running import TrialError, step

UNAVAILABLE: Final = 69

SERVER: Final = "pip install --find-links dist jobledger-service"
CLIENT: Final = "pip install --find-links dist jobledger-client"
COMMAND_LINE: Final = "pip install --find-links dist 'jobledger-client[cli]'"


def main() -> int:
    """Do all of it, in order, and return the exit status."""
    began = time.monotonic()
    if not environments.index_answers():
        print("make dist: the package index cannot be reached, so nothing was built or tried", file=sys.stderr)
        return UNAVAILABLE
    try:
        with tempfile.TemporaryDirectory() as scratch:
            _build(Path(scratch))
            _try(Path(scratch), _install(Path(scratch)))
            _deploy(Path(scratch))
    except TrialError as error:
        print(f"\nmake dist: {error}", file=sys.stderr)
        return 1
    print(f"dist/ has {len(list(wheels.DIST.iterdir()))} files, built and tried in {time.monotonic() - began:.0f} s")
    return 0


def _build(scratch: Path) -> None:
    print("Build into dist/, in isolation:")
    wheels.DIST.mkdir(exist_ok=True)
    for old in wheels.DIST.iterdir():
        old.unlink()
    for project in wheels.distributions():
        with step(f"{project.name}: a source archive, a wheel of it, the same wheel of the folder"):
            wheel = wheels.build(project, wheels.DIST)
            wheels.check_same(wheel, wheels.build(project, scratch, "--wheel"))
            wheels.check_contents(project, wheel)
    for archive in wheels.DIST.glob("*.tar.gz"):
        wheels.check_source_archive(archive)


def _install(scratch: Path) -> dict[str, Environment]:
    """Install by each line of the documents, into an environment of its own."""
    print("Install into clean environments, what is ours from dist/ alone:")
    installed = {}
    for number, line in enumerate(environments.lines()):
        with step(line):
            environment = environments.install(line, scratch / f"environment-{number}")
            environment.check()
            if line == CLIENT:
                trial.check_missing_extra(environment)
            else:
                trial.start_programs(environment)
        installed[line] = environment
    if missing := {SERVER, CLIENT, COMMAND_LINE} - set(installed):
        raise TrialError(f"the documents lack {', '.join(sorted(missing))}")
    return installed


def _try(scratch: Path, installed: dict[str, Environment]) -> None:
    print("Try what was installed:")
    with step("jobledger-server migrate, twice"):
        trial.migrate(installed[SERVER], scratch)
    with trial.serving(installed[SERVER], scratch) as target:
        with step("the SDK: create, claim, complete, watch"):
            job_id = trial.call(installed[CLIENT], target)
        with step("the command line: get, create, cancel, list"):
            trial.use_command_line(installed[COMMAND_LINE], target, job_id)


def _deploy(scratch: Path) -> None:
    print("Try what deploys it, as far as that goes without Docker and Kubernetes:")
    with step("the image's steps, from the versions of constraints.txt"):
        environment = image.make(scratch / "image")
        image.check_pinned(environment)
        trial.start_programs(Environment(environment))
    with step("the manifests against the schemas of Kubernetes and Compose"):
        schemas.check(scratch)


sys.exit(main())
