"""What generators share: the contract with its comments, and the format of generated modules."""

import re
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import run
from typing import NamedTuple

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet


@dataclass
class Comments:
    """The comments of one proto, by the path of what they are about."""

    by_path: dict[tuple[int, ...], str] = field(default_factory=dict)

    @classmethod
    def of(cls, file: FileDescriptorProto) -> "Comments":
        """Collect the comments that stand before something, or at the end of its line."""
        locations = file.source_code_info.location
        return cls({tuple(each.path): each.leading_comments or each.trailing_comments for each in locations})

    def paragraphs(self, *path: int) -> list[str]:
        """Return the paragraphs of a comment; a list in it is a paragraph with its line breaks."""
        lines = [line.removeprefix(" ") for line in self.by_path.get(path, "").splitlines()]
        return [text.strip("\n") for text in re.split(r"\n\s*\n", "\n".join(lines)) if text.strip()]

    def line(self, *path: int) -> str:
        """Return a comment in one line."""
        return " ".join(self.by_path.get(path, "").split())


def load(protos: Path) -> list[FileDescriptorProto]:
    """Return the descriptors of all protos in a folder, with their comments; those with services come first."""
    paths = sorted(str(path.relative_to(protos)) for path in protos.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / "contract.binpb"
        options = [f"-I{protos}", f"--descriptor_set_out={built}", "--include_source_info"]
        run([sys.executable, "-m", "grpc_tools.protoc", *options, *paths], check=True)  # noqa: S603 - our own files
        files = FileDescriptorSet.FromString(built.read_bytes()).file
    return sorted(files, key=lambda file: (not file.service, file.name))


class Reason(NamedTuple):
    """A reason of `ErrorReason` without its prefix, with its gRPC code, and its comment after both."""

    name: str
    code: str
    text: str


def reasons(files: list[FileDescriptorProto]) -> list[Reason]:
    """Return the reasons; the comment of each begins with `ERROR_REASON_NAME (CODE) is `."""
    [(file, enum)] = [(file, enum) for file in files for enum in file.enum_type if enum.name == "ErrorReason"]
    comments = Comments.of(file)
    listed = []
    for place, value in enumerate(enum.value):
        comment = comments.line(5, list(file.enum_type).index(enum), 2, place)
        if match := re.match(rf"{value.name} \(([A-Z_]+)\) is ", comment):
            listed.append(Reason(value.name.removeprefix("ERROR_REASON_"), match[1], comment[match.end() :]))
        elif value.number:
            raise SystemExit(f"the comment of {value.name} must begin with `{value.name} (CODE) is`; got {comment!r}")
    return listed


def formatted(text: str, path: str = "generated.py", rules: str = "I") -> str:
    """Return a generated module with sorted imports and formatted lines."""
    for command in (["check", f"--select={rules}", "--fix-only"], ["format"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--quiet", f"--stdin-filename={path}", "-"]
        text = run(ruff, input=text, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own code
    return text
