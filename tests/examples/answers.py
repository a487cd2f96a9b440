"""What the tests ask of an answer as JSON, which is what callers in other languages see."""

import re
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def answer_of(message: Message) -> dict[str, Any]:
    """Return an answer as JSON."""
    return MessageToDict(message)


def texts(value: Any) -> list[str]:
    """Return every string in an answer."""
    if isinstance(value, dict):
        return [text for one in value.values() for text in texts(one)]
    if isinstance(value, list):
        return [text for one in value for text in texts(one)]
    return [value] if isinstance(value, str) else []


def assert_no_local_paths(value: Any, folder: Path) -> None:
    """Check that nothing in the answer says where files are on this machine."""
    assert texts(value)
    for text in texts(value):
        assert str(folder) not in text
        assert not text.startswith(("file:", "/"))
