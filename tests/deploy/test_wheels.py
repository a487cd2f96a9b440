"""The three wheels: license, version, authors, links and classifiers are in the metadata of each."""

import subprocess
import sys
from email import message_from_bytes
from importlib import import_module
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.support.bounds import BOUND

ROOT = Path(__file__).parents[2]
MODULES = {"protos": "jobledger", "client": "jobledger_client", "service": "jobledger_service"}
OURS = {"protos": [], "client": ["jobledger-protos"], "service": ["jobledger-protos", "jobledger-client"]}


@pytest.mark.parametrize("folder", MODULES)
def test_a_wheel_has_its_license_and_metadata(folder: str, tmp_path: Path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path]
    subprocess.run(build, cwd=ROOT / folder, check=True, capture_output=True, timeout=BOUND)
    [path] = tmp_path.glob("*.whl")
    with ZipFile(path) as wheel:
        names = {name.partition("dist-info/")[2]: name for name in wheel.namelist()}
        assert wheel.read(names["licenses/LICENSE"]) == (ROOT / "LICENSE").read_bytes()
        metadata = message_from_bytes(wheel.read(names["METADATA"]))
    version = import_module(MODULES[folder]).__version__
    assert metadata["Version"] == version
    assert (metadata["License-Expression"], metadata["Author"]) == ("Apache-2.0", "The Jobledger authors")
    assert metadata["Project-URL"] == "License, https://www.apache.org/licenses/LICENSE-2.0"
    assert "Programming Language :: Python :: 3.11" in metadata.get_all("Classifier", [])
    required = metadata.get_all("Requires-Dist", [])
    assert folder != "protos" or "types-protobuf; extra == 'types'" in required
    ours = {one for one in required if one.startswith("jobledger-") and ";" not in one}
    assert ours == {f"{one}=={version}" for one in OURS[folder]}


def test_the_license_names_the_license_the_holder_and_the_text():
    text = (ROOT / "LICENSE").read_text()
    for part in (
        "SPDX-License-Identifier: Apache-2.0",
        "Copyright 2026 The Jobledger authors",
        "https://www.apache.org/licenses/LICENSE-2.0",
    ):
        assert part in text
