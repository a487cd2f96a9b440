"""The manifests against the schemas of Kubernetes and of Compose, which two packages of the index bring."""

import sys
from pathlib import Path
from typing import Final

from deploy.packages.running import run
from deploy.packages.wheels import ROOT

CHECKERS: Final = ("check-jsonschema==0.39.0", "kubernetes-validate==1.37.0")


def check(scratch: Path) -> None:
    """Install the checkers, and check each manifest; unknown fields are errors."""
    programs = scratch / "schemas" / "bin"
    run(sys.executable, "-m", "venv", "--without-pip", programs.parent)
    run(sys.executable, "-m", "pip", "--python", programs / "python", "install", *CHECKERS)
    manifests = sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
    run(programs / "kubernetes-validate", "--strict", *manifests)
    compose = ROOT / "deploy" / "compose.yaml"
    run(programs / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", compose)
