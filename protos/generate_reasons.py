"""Generate `jobledger/v1/reasons.py` from the contract: `python -m protos.generate_reasons [directory]`.

The comment of ErrorReason lists what any call may be refused for, that of each value begins with its code, and that of
each RPC lists the RPC's own reasons as `Errors: CODE (REASON, REASON); CODE (REASON). Retry: …`.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto

from .comments import Comments, formatted, load, reasons

PROTOS = Path(__file__).parent
OWN = re.compile(r"Role: \w+.*?\. Class: \w+\. Errors: (.+?) Retry: .+\.$")
CLASSES = re.compile(r"- (?:any call|a call of the class READ or WATCH):")
HEADER = '''# Generated from *.proto by protos/generate_reasons.py: edit the comments there, then run `make gen`.
"""The reasons of errors, without their prefix: the code of each, and the methods that it may meet."""

from typing import Final

'''


def main() -> None:
    """Write the module."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else PROTOS
    files = load(PROTOS)
    codes = {reason.name: reason.code for reason in reasons(files)}
    text = HEADER + "\n".join(_lines(files, codes)) + "\n"
    (folder / "jobledger" / "v1" / "reasons.py").write_text(formatted(text))


def _lines(files: list[FileDescriptorProto], codes: dict[str, str]) -> Iterator[str]:
    yield "CODES: Final = {"
    yield from (f'    "{reason}": "{code}",' for reason, code in codes.items())
    yield '}\n"""The gRPC code of each reason."""'
    [file] = [file for file in files if any(enum.name == "ErrorReason" for enum in file.enum_type)]
    _, any_call, any_read = CLASSES.split(Comments.of(file).line(5, 0))
    any_call_reasons = [reason for reason in _listed(any_call, codes) if reason != "INTERNAL"]
    yield f"ANY_CALL: Final = frozenset({any_call_reasons})"
    yield '"""Why any call may be refused. INTERNAL, a defect, is not among them."""'
    yield f"ANY_READ: Final = frozenset({_listed(any_read, codes)})"
    yield '"""Why any call of the classes READ and WATCH may be refused."""'
    yield "OF_METHODS: Final[dict[str, tuple[str, ...]]] = {"
    for name, comment in _methods(files):
        own = OWN.search(comment)
        if own is None:
            raise SystemExit(f"the comment of {name} must end with Role, Class, Errors and Retry; got {comment!r}")
        listed = _listed(own[1], codes)
        if not listed and not own[1].startswith("none of its own."):
            raise SystemExit(f"the errors of {name} must be `CODE (REASON)` or `none of its own.`; got {own[1]!r}")
        yield f'    "{name}": {tuple(listed)},'
    yield '}\n"""Why each method may be refused, beside what any call of its class may be refused for."""'


def _methods(files: list[FileDescriptorProto]) -> Iterator[tuple[str, str]]:
    for file in files:
        comments = Comments.of(file)
        for place, service in enumerate(file.service):
            for number, method in enumerate(service.method):
                yield f"{file.package}.{service.name}.{method.name}", comments.line(6, place, 2, number)


def _listed(text: str, codes: dict[str, str]) -> list[str]:
    """Return the reasons that a text lists after their code: `NOT_FOUND (JOB_NOT_FOUND, CHUNK_NOT_FOUND)`."""
    listed = []
    for code, names in re.findall(r"\b([A-Z_]+) \(([A-Z_]+(?:, [A-Z_]+)*)\)", text):
        for reason in names.split(", "):
            if codes.get(reason) != code:
                raise SystemExit(f"{reason} is listed with {code}, but its code is {codes.get(reason)}")
            listed.append(reason)
    return listed


if __name__ == "__main__":
    main()
