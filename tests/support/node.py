"""Programs in Node, with the packages that examples/node/package.json names, installed when they are first used."""

import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "node"
PACKAGES = FOLDER / "package.json"
MODULES = FOLDER / "node_modules"
STAMP = MODULES / ".installed.json"
INSTALL = (
    "npm", "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error",
    "--fetch-retries", "0",
)  # fmt: skip


def need_node() -> None:
    """Skip the test where there is no Node, no npm, or no registry that has the packages."""
    missing = [program for program in ("node", "npm") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"there is no {' and no '.join(missing)}")
    if not (STAMP.exists() and STAMP.read_text() == PACKAGES.read_text()):
        _install()


def _install() -> None:
    """Install the packages elsewhere and move them here, as other tests may do the same meanwhile."""
    with TemporaryDirectory(dir=FOLDER, prefix=".installing-") as scratch:
        shutil.copy(PACKAGES, scratch)
        try:
            done = subprocess.run(INSTALL, cwd=scratch, capture_output=True, text=True, timeout=120, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip("npm did not install the packages of examples/node within two minutes")
        if done.returncode:
            pytest.skip(f"npm cannot install the packages of examples/node:\n{done.stderr}")
        installed = Path(scratch) / "node_modules"
        (installed / STAMP.name).write_text(PACKAGES.read_text())
        if MODULES.exists() and not STAMP.exists():
            shutil.rmtree(MODULES)
        if MODULES.exists() and STAMP.read_text() != PACKAGES.read_text():
            MODULES.rename(Path(scratch) / "outdated")
        if not MODULES.exists():
            installed.rename(MODULES)


def start(*words: str) -> "subprocess.Popen[str]":
    """Start a program of examples/node."""
    command = ["node", *words]
    return subprocess.Popen(command, cwd=FOLDER, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
