"""Clean virtual environments, made by the `pip install` lines of the documents."""

import json
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.packages.running import TrialError, run
from deploy.packages.wheels import DIST, ROOT, distributions

DOCUMENTS: Final = (ROOT / "README.md", ROOT / "docs" / "install.md")
LINE: Final = re.compile(r"^pip install --find-links dist '?(?P<name>[\w-]+)\S*", re.MULTILINE)


@dataclass(frozen=True)
class Environment:
    """A virtual environment that holds what one line installed, and nothing else."""

    path: Path

    def program(self, name: str) -> Path:
        """Return a program of the environment."""
        return self.path / "bin" / name

    def check(self) -> None:
        """Check that our distributions come from the folder, all others do not, and all requirements are met."""
        report = json.loads((self.path / "report.json").read_text())
        for one in report["install"]:
            name, url = one["metadata"]["name"], one["download_info"]["url"]
            if name.startswith("jobledger") != url.startswith(DIST.as_uri()):
                raise TrialError(f"{name} was taken from {url}")
        run(sys.executable, "-m", "pip", "--python", self.program("python"), "check")


def lines() -> list[str]:
    """Return the lines of the documents that install from the folder, each once, of distributions that there are."""
    found = dict.fromkeys(match for document in DOCUMENTS for match in LINE.finditer(document.read_text()))
    there = {f"jobledger-{project.name}" for project in distributions()}
    return list(dict.fromkeys(match[0] for match in found if match["name"] in there))


def install(line: str, path: Path) -> Environment:
    """Make an environment by a line of the documents."""
    run(sys.executable, "-m", "venv", "--without-pip", path)
    _, *arguments = shlex.split(line, comments=True)
    report = {"PIP_REPORT": str(path / "report.json")}
    run(
        sys.executable, "-m", "pip", "--python", path / "bin" / "python", *arguments, directory=ROOT, environment=report
    )
    return Environment(path)


def index_answers() -> bool:
    """Whether pip finds what builds the packages."""
    ask = ("install", "--dry-run", "--quiet", "--no-deps", "--ignore-installed", "--retries", "0", "hatchling")
    try:
        run(sys.executable, "-m", "pip", *ask)
    except TrialError as error:
        print(error, file=sys.stderr)
        return False
    return True
