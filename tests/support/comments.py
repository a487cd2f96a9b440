"""The comments of the contract, as `buf` reads them from the protos."""

import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from tests.support.bounds import BOUND
from tests.support.foreign import BUF

ROOT = Path(__file__).parents[2]


@cache
def comments() -> dict[str, str]:
    """Return the comment of each method, field, enum and enum value, each in one line, by full name."""
    built = subprocess.run(
        [BUF, "build", "-o", "-#format=binpb"], cwd=ROOT, timeout=BOUND, capture_output=True, check=True
    )
    files = FileDescriptorSet.FromString(built.stdout).file
    return dict(one for file in files if file.package == "jobledger.v1" for one in _of(file))


def _of(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    for location in file.source_code_info.location:
        comment = " ".join(location.leading_comments.split())
        match list(location.path):  # numbers of fields of the descriptors, and places in them
            case [6, service, 2, method]:
                yield (
                    f"{file.package}.{file.service[service].name}.{file.service[service].method[method].name}",
                    comment,
                )
            case [4, message, 2, number]:
                yield (
                    f"{file.package}.{file.message_type[message].name}.{file.message_type[message].field[number].name}",
                    comment,
                )
            case [5, enum]:
                yield f"{file.package}.{file.enum_type[enum].name}", comment
            case [5, enum, 2, value]:
                yield f"{file.package}.{file.enum_type[enum].value[value].name}", comment
            case _:
                pass
