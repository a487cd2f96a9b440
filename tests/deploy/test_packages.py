"""The packages have what their folders have, and the documents install each of them; `make dist` installs and tries."""

from pathlib import Path
from zipfile import ZipFile

import pytest

from deploy.packages import environments, wheels
from deploy.packages.running import TrialError

PROJECTS = wheels.distributions()


def without(wheel: Path, copy: Path, end: str) -> Path:
    """Return a copy of a wheel without the files whose names end so."""
    with ZipFile(wheel) as original, ZipFile(copy, "w") as changed:
        for name in original.namelist():
            if not name.endswith(end):
                changed.writestr(name, original.read(name))
    return copy


def with_one_more(wheel: Path, copy: Path, name: str) -> Path:
    """Return a copy of a wheel with an empty file more."""
    copy.write_bytes(wheel.read_bytes())
    with ZipFile(copy, "a") as changed:
        changed.writestr(name, "")
    return copy


@pytest.mark.long
@pytest.mark.parametrize("project", PROJECTS, ids=lambda path: path.name)
def test_a_wheel_has_what_its_folder_has_and_a_source_archive_makes_the_same(project: Path, tmp_path: Path):
    (tmp_path / "again").mkdir()
    wheel = wheels.build(project, tmp_path, "--no-isolation")
    wheels.check_same(wheel, wheels.build(project, tmp_path / "again", "--no-isolation", "--wheel"))
    assert wheels.check_contents(project, wheel) > 10
    [archive] = tmp_path.glob("*.tar.gz")
    wheels.check_source_archive(archive)
    changed = tmp_path / "again" / wheel.name
    for end in "/py.typed", "licenses/LICENSE":
        with pytest.raises(TrialError, match=end):
            wheels.check_contents(project, without(wheel, changed, end))
    with pytest.raises(TrialError, match="tests/test_more"):
        wheels.check_contents(project, with_one_more(wheel, changed, "tests/test_more.py"))


def test_every_distribution_is_packaged():
    assert {"client", "protos", "service"} <= {project.name for project in PROJECTS}


def test_the_documents_install_every_distribution_but_the_contract_which_comes_with_the_others():
    named = {line.split()[-1].strip("'").partition("[")[0] for line in environments.lines()}
    assert named == {f"jobledger-{project.name}" for project in PROJECTS} - {"jobledger-protos"}
