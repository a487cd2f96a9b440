"""Generate the synchronous client from the asynchronous one: `generate_sync.py [directory]`."""

import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import unasync

PACKAGE = Path(__file__).parent / "jobledger_client"
SOURCE = PACKAGE / "_async"
HEADER = "# Generated from _async/{name} by client/generate_sync.py: edit that module, then run `make gen`.\n"
RENAMED = {"_async": "_sync", "anext": "next"}


def main() -> None:
    """Write every module of `_sync` except its backend, which is not generated."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGE / "_sync"
    sources = [path for path in sorted(SOURCE.glob("*.py")) if path.name != "_backend.py"]
    with TemporaryDirectory() as scratch:
        rule = unasync.Rule(f"{SOURCE}/", f"{scratch}/", additional_replacements=replacements(sources))
        unasync.unasync_files([str(path) for path in sources], [rule])
        target.mkdir(parents=True, exist_ok=True)
        for path in sources:
            text = HEADER.format(name=path.name) + (Path(scratch) / path.name).read_text()
            (target / path.name).write_text(tidy(text, path.name))


def replacements(sources: list[Path]) -> dict[str, str]:
    """Return the new names: AsyncJobClient becomes JobClient, not unasync's SyncJobClient."""
    names = {name for path in sources for name in re.findall(r"\bAsync[A-Z]\w*", path.read_text())}
    return RENAMED | {name: name.removeprefix("Async") for name in names}


def tidy(text: str, name: str) -> str:
    """Return the module with sorted imports and formatted lines, as its names are shorter now."""
    for command in (["check", "--select=I", "--fix-only"], ["format"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--quiet", f"--stdin-filename={PACKAGE}/_sync/{name}", "-"]
        text = subprocess.run(ruff, input=text, capture_output=True, text=True, check=True).stdout  # noqa: S603 - ours
    return text


if __name__ == "__main__":
    main()
