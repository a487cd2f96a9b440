"""The steps of the Dockerfile's first stage, in their order, without Docker."""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from deploy.packages.running import TrialError, run
from deploy.packages.wheels import ROOT

DOCKERFILE: Final = ROOT / "deploy" / "Dockerfile"
TARGET: Final = "/opt/jobledger"
PIN: Final = re.compile(r"^([\w.-]+)==(\S+)$", re.MULTILINE)


def first_stage() -> Iterator[str]:
    """Yield the instructions of the first stage, each in one line."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines = iter(text.splitlines())
    next(lines)
    for line in lines:
        if line.startswith("FROM "):
            return
        if line:
            yield line


def make(scratch: Path) -> Path:
    """Do what the first stage does, with folders of its own, and return its environment."""
    source, target, python = scratch / "src", scratch / "opt" / "jobledger", scratch / "python"
    run(sys.executable, "-m", "venv", python)
    searched = {"PATH": f"{python / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    for line in first_stage():
        instruction, _, rest = line.partition(" ")
        if instruction == "RUN":
            run("sh", "-c", rest.replace(TARGET, str(target)), directory=source, environment=searched)
        elif line == "COPY . .":
            _copy_context(source)
        elif instruction != "WORKDIR":
            raise TrialError(f"deploy/Dockerfile: {line}: this is none of the steps that are tried")
    return target


def check_pinned(environment: Path) -> None:
    """Check that all that an environment has, but our own packages, is pinned."""
    pinned = {_normalized(name): version for name, version in PIN.findall((ROOT / "constraints.txt").read_text())}
    listing = run(sys.executable, "-m", "pip", "--python", environment / "bin" / "python", "list", "--format", "json")
    for one in json.loads(listing):
        name, version = _normalized(one["name"]), one["version"]
        if not name.startswith("jobledger-") and pinned.get(name) != version:
            raise TrialError(f"the image has {name}=={version}; constraints.txt has {pinned.get(name)}")


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _copy_context(target: Path) -> None:
    """Copy what .dockerignore lets through."""
    ignored = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().split()
    for name in (word.removeprefix("!") for word in ignored if word.startswith("!")):
        found = ROOT / name
        if found.is_dir():
            shutil.copytree(found, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif found.exists():
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(found, target / name)
