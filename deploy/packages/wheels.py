"""Build a source archive and a wheel of each distribution, and check what is in them."""

import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from zipfile import ZipFile

from deploy.packages.running import TrialError, run

ROOT: Final = Path(__file__).resolve().parents[2]
DIST: Final = ROOT / "dist"


def distributions() -> list[Path]:
    """Return the folder of each distribution."""
    return sorted(path.parent for path in ROOT.glob("*/pyproject.toml"))


def build(project: Path, directory: Path, *flags: str) -> Path:
    """Build a source archive, and a wheel from that archive; return the wheel.

    The flag --wheel makes it of the folder instead, --no-isolation with the build backend of this environment.
    """
    before = set(directory.glob("*.whl"))
    run(sys.executable, "-m", "build", *flags, "--outdir", directory, project)
    [wheel] = set(directory.glob("*.whl")) - before
    return wheel


def check_same(wheel: Path, other: Path) -> None:
    """Check that two wheels are equal byte for byte."""
    if wheel.read_bytes() != other.read_bytes():
        raise TrialError(f"{wheel} and {other} differ")


def check_contents(project: Path, wheel: Path) -> int:
    """Check that a wheel has each file of the packages of its folder, and its license, and nothing else."""
    with ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if not name.endswith("/")}
    described = {name for name in found if name.partition("/")[0].endswith(".dist-info")}
    expected = set(_package_files(project))
    if found - described != expected:
        wrong = sorted((found - described) ^ expected)
        raise TrialError(f"{wheel.name}: the wheel or the folder alone has {', '.join(wrong)}")
    _check_needed(wheel, found)
    return len(expected)


def check_source_archive(archive: Path) -> None:
    """Check that a source archive has what it is built by, and its license."""
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    missing = {"pyproject.toml", "LICENSE", "PKG-INFO"} - names
    if missing:
        raise TrialError(f"{archive.name} lacks {', '.join(sorted(missing))}")


def _package_files(project: Path) -> Iterator[str]:
    """Yield the files of a folder's packages, as Git knows them: neither caches nor what it ignores."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "."]
    output = subprocess.run(listing, cwd=project, check=True, capture_output=True, text=True).stdout
    for name in filter(None, output.split("\0")):
        package, _, inside = name.partition("/")
        if inside and (project / package / "__init__.py").exists() and (project / name).exists():
            yield name


def _check_needed(wheel: Path, names: set[str]) -> None:
    """Check for what a wheel must have though no test would miss it, and for tests, which it must not have."""
    needed = {"/py.typed": 1, ".dist-info/licenses/LICENSE": 1}
    if wheel.name.startswith("jobledger_protos-"):
        needed[".proto"] = len(list(ROOT.glob("protos/jobledger/v1/*.proto")))
    if wheel.name.startswith("jobledger_service-"):
        needed["/migrations/env.py"] = 1
        needed["/migrations/versions/0001_schema.py"] = 1
        needed["/migrations/versions/0001_schema.sqlite.sql"] = 1
        needed["/migrations/versions/0001_schema.postgresql.sql"] = 1
    for end, count in needed.items():
        if sum(name.endswith(end) for name in names) != count:
            raise TrialError(f"{wheel.name}: {count} files must end with {end}")
    if tests := [name for name in names if "tests" in name.split("/")]:
        raise TrialError(f"{wheel.name} has tests: {', '.join(tests)}")
