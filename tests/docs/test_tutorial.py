"""The tutorial works: each part is followed in a folder of its own, and prints what it says.

A Python block is a file, named in its first line. A shell block runs to its end, unless its first line says that it is
in a terminal of its own: then it runs beside the rest. A text block is what the shell block before it prints, where …
stands for anything. The comments `stop` and `kill` end a program that runs beside, as the text around them tells.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from shlex import quote

import pytest

from tests.docs.documents import TUTORIAL, name_of
from tests.support.bounds import BOUND
from tests.support.databases import empty_postgres
from tests.support.server import READY, without_settings

pytestmark = [pytest.mark.one_store("each part names its store"), pytest.mark.long]

STEP = re.compile(r"^```(python|sh|text)\n(.*?)^```$|^<!-- (stop|kill): (\S+) -->$", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"# (\w+\.py)\n")
BESIDE = re.compile(r"# in a \w+ terminal\n")
POSTGRESQL = "postgresql+psycopg://jobledger@127.0.0.1/jobledger"
PAGE = "127.0.0.1:8000"
PORTS = {PAGE: re.compile(r"http://(127\.0\.0\.1:\d+)")}
"""Addresses of programs that are not ours, each with how it prints the port that it got."""


def shape(text: str) -> str:
    """Return the form of an output: … stands for anything, and alone in a line for any lines."""
    lines = (re.escape(line.rstrip()).replace("…", ".*?") + r"[ ]*\n" for line in text.splitlines())
    return "(?s:" + "".join(".*?" if line == r".*?[ ]*\n" else line for line in lines) + r"\s*)"


class Beside:
    """A program that runs beside the rest."""

    def __init__(self, command: str, folder: Path, environment: dict[str, str]) -> None:
        self.command = command
        self._log = folder / f"{time.monotonic_ns()}.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"], cwd=folder, env=environment, stdout=log, stderr=log
            )

    @property
    def output(self) -> str:
        return self._log.read_text()

    def wait_for(self, form: re.Pattern[str]) -> re.Match[str]:
        """Wait until it has printed something; it must still run, or have ended well."""
        deadline = time.monotonic() + BOUND
        while not (found := form.search(self.output)):
            assert self.process.poll() in {None, 0}, self.output
            assert time.monotonic() < deadline, f"{form.pattern} is not in:\n{self.output}"
        return found

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return self.process.wait(BOUND)


class Reader:
    """Does what one part of the tutorial says."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, str] = {}
        self._beside: list[Beside] = []
        self._addresses: dict[str, str] = {}
        self._last: str | Beside = ""

    def save(self, source: str) -> None:
        """Keep a program; it is written when something runs."""
        name = NAME.match(source)
        assert name, source
        self._files[name[1]] = source

    def run(self, block: str) -> None:
        """Run a shell block, to its end or beside the rest."""
        for name, source in self._files.items():
            (self._folder / name).write_text(self._here(source).replace('("127.0.0.1", 8000)', '("127.0.0.1", 0)'))
        if not BESIDE.match(block):
            done = subprocess.run(
                ["bash", "-ec", self._here(block)], cwd=self._folder, env=self._environment(), timeout=BOUND,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{block}\n{done.stdout}"
            self._last = done.stdout
            return
        command = BESIDE.sub("", block).strip()
        address = re.search(r"--listen (\S+)", command)
        command = re.sub(r"--listen \S+", "--listen 127.0.0.1:0", command)
        self._last = Beside(self._here(command), self._folder, self._environment())
        self._beside.append(self._last)
        if command.startswith("jobledger-server"):
            place = self._last.wait_for(re.compile(f"{READY}(\\S+)"))[1]
            self._addresses[address[1] if address else "127.0.0.1:7070"] = place

    def compare(self, text: str) -> None:
        """Compare what the last block printed, or prints in the end, with what the tutorial shows."""
        for address, form in PORTS.items():
            if address in text and isinstance(self._last, Beside):
                self._addresses[address] = self._last.wait_for(form)[1]
        form = shape(self._here(text))
        if isinstance(self._last, Beside):
            self._last.wait_for(re.compile(form))
        else:
            assert re.fullmatch(form, self._last), f"{text}\nis not what it printed:\n{self._last}"

    def end(self, how: str, name: str) -> None:
        """Stop or kill the first program beside that is called so."""
        found = next(one for one in self._beside if name in one.command)
        status = found.end(signal.SIGINT if how == "stop" else signal.SIGKILL)
        assert status == (0 if how == "stop" else -signal.SIGKILL), found.output
        self._beside.remove(found)

    def close(self) -> None:
        """End what still runs; servers drain."""
        for one in reversed(self._beside):
            status = one.end(signal.SIGTERM)
            assert status == 0 or "jobledger-server" not in one.command, one.output

    def kill(self) -> None:
        for one in self._beside:
            with suppress(ProcessLookupError):
                one.process.kill()
            one.process.wait(BOUND)

    def _here(self, text: str) -> str:
        """Return a text with the addresses of this run."""
        if POSTGRESQL in text:
            text = text.replace(POSTGRESQL, quote(self._database()))
        for written, place in self._addresses.items():
            text = text.replace(written, place)
        return text

    def _database(self) -> str:
        if POSTGRESQL not in self._addresses:
            self._addresses[POSTGRESQL] = empty_postgres()
        return self._addresses[POSTGRESQL]

    def _environment(self) -> dict[str, str]:
        programs = str(Path(sys.executable).parent)
        found = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "200", "PYTHONUNBUFFERED": "1"}
        target = self._addresses.get("127.0.0.1:7070", "")
        return without_settings() | found | {"JOBLEDGER_LISTEN": "127.0.0.1:0", "JOBLEDGER_TARGET": target}


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """Return one who follows a part."""
    found = Reader(tmp_path)
    yield found
    found.kill()


def earlier_programs(part: Path) -> Iterator[str]:
    """Yield the programs of the parts before."""
    for path in TUTORIAL[: TUTORIAL.index(part)]:
        yield from (step[2] for step in STEP.finditer(path.read_text()) if step[1] == "python")


@pytest.mark.parametrize("part", TUTORIAL, ids=name_of)
def test_a_part_of_the_tutorial_works(part: Path, reader: Reader):
    for source in earlier_programs(part):
        reader.save(source)
    for step in STEP.finditer(part.read_text()):
        kind, block, how, name = step.groups()
        match kind:
            case "python":
                reader.save(block)
            case "sh":
                reader.run(block)
            case "text":
                reader.compare(block)
            case _:
                reader.end(how, name)
    reader.close()
