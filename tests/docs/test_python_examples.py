"""The Python examples run, in the order of their document, against a real server of its own.

An example that begins with a comment `# name.py` is a program: it runs as a process of its own until its document ends,
and must then end with 0 on SIGTERM.
"""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager
from pathlib import Path

import pytest
from sybil import Example
from sybil.document import Document
from sybil.parsers.markdown import CodeBlockParser, SkipParser

from tests.conftest import StartServer
from tests.docs.documents import DOCUMENTS, TARGET, TUTORIAL, name_of
from tests.support.bounds import BOUND
from tests.support.server import Server

pytestmark = pytest.mark.one_store("the examples see messages, not the store")

PROGRAM = re.compile(r"# (\w+\.py)\n")


class Runner:
    """Runs the examples of one document."""

    def __init__(self, server: Server, folder: Path, programs: ExitStack) -> None:
        self._server = server
        self._folder = folder
        self._programs = programs

    def __call__(self, example: Example) -> None:
        source = str(example.parsed).replace(TARGET, self._server.target)
        if program := PROGRAM.match(source):
            file = self._folder / program[1]
            file.write_text(source)
            self._programs.enter_context(running(file))
            return
        padded = "\n" * (example.line + example.parsed.line_offset) + source  # so that tracebacks name the right line
        with chdir(self._folder):
            exec(compile(padded, example.path, "exec", dont_inherit=True), example.namespace)  # noqa: S102 - what it is for


@contextmanager
def running(program: Path) -> Iterator[None]:
    """Run a program; at the end it must still run, and drain."""
    log = program.with_suffix(".log")
    with log.open("w") as output:
        process = subprocess.Popen([sys.executable, program], stdout=output, stderr=output)
    try:
        yield
        assert process.poll() is None, log.read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(BOUND) == 0, log.read_text()
    finally:
        process.kill()
        process.wait(BOUND)


def has_examples(path: Path) -> bool:
    """Tell whether a document has Python examples."""
    return "\n```python\n" in path.read_text()


@pytest.mark.parametrize(
    "path", [path for path in DOCUMENTS if has_examples(path) and path not in TUTORIAL], ids=name_of
)
def test_the_examples_run(path: Path, start_server: StartServer, tmp_path: Path):
    with ExitStack() as programs:
        runner = Runner(start_server(), tmp_path, programs)
        examples = list(Document.parse(str(path), CodeBlockParser("python", runner), SkipParser()))
        for example in examples:
            example.evaluate()
    assert examples
