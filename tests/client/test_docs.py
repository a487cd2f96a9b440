"""The examples of docs/client.md, run in order against a real server."""

from pathlib import Path

import pytest
from sybil import Document, Example, Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from tests.support.server import Server

pytestmark = pytest.mark.one_store("the examples see messages, not the store")

PAGE = Path(__file__).parents[2] / "docs" / "client.md"


def test_every_example_runs(server: Server):
    document: Document = Sybil([PythonCodeBlockParser()]).parse(PAGE)
    examples: list[Example] = list(document.examples())
    assert len(examples) == 8
    for example in examples:
        example.parsed.text = example.parsed.replace("127.0.0.1:7070", server.target)
        example.parsed = type(example.parsed)(example.parsed.text, example.parsed.offset, example.parsed.line_offset)
        example.evaluate()
    document.namespace["client"].close()
