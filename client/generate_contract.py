"""Generate the enums and exceptions of the SDK from the contract: `python -m client.generate_contract [directory]`.

A member has the comment of its value; an exception has that of its reason, and the parent of its reason's code.
"""

import re
import sys
import textwrap
from pathlib import Path

from google.protobuf.descriptor_pb2 import EnumDescriptorProto, FileDescriptorProto
from protos.comments import Comments, Reason, formatted, load, reasons

from jobledger_client._public import BY_HAND as BY_HAND_HOMES

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "client" / "jobledger_client"
HEADER = '''# Generated from the protos by client/generate_contract.py: edit these, then run `make gen`.
"""{title}"""

'''
PARENTS = {
    "NOT_FOUND": "NotFoundError",
    "ALREADY_EXISTS": "AlreadyExistsError",
    "FAILED_PRECONDITION": "PreconditionError",
    "OUT_OF_RANGE": "CursorError",
    "UNAUTHENTICATED": "UnauthenticatedError",
    "PERMISSION_DENIED": "PermissionDeniedError",
    "RESOURCE_EXHAUSTED": "LimitError",
    "UNAVAILABLE": "UnavailableError",
}
"""The parent of a reason's exception by the reason's code; others have the base alone."""
OTHER_PARENTS = {"FOREIGN_CURSOR": "CursorError", "QUEUE_FULL": "JobledgerError"}
"""The parents of reasons that callers group with reasons of another code."""
PARENT_REASONS = {"INTERNAL"}
"""Reasons whose exception is itself a parent, in `_error_groups.py`."""
NAMES_OF_SDK = {"RetryInfo": "`retry_after`", "BadRequest": "`field_violations`", "Metadata:": "`metadata`:"}


def main() -> None:
    """Write the modules of `_generated`."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGE / "_generated"
    files = load(ROOT / "protos")
    enums = [(file, enum) for file in files for enum in file.enum_type if enum.name != "ErrorReason"]
    enums.sort(key=lambda pair: pair[1].name)
    exceptions = [reason for reason in reasons(files) if reason.name not in PARENT_REASONS]
    names = {
        "_generated._enums": " ".join(enum.name for _, enum in enums),
        "_generated._errors": " ".join(class_name(reason.name) for reason in exceptions),
    }
    homes = HEADER.format(title="What is generated from the contract, and its public names by module.")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {
        "__init__": homes + f"from typing import Final\n\nHOMES: Final = {names}\n",
        "_enums": "\n\n".join(_enum(file, enum) for file, enum in enums),
        "_errors": "\n\n".join(_exception(reason) for reason in exceptions) + _by_reason(exceptions),
    }.items():
        (folder / f"{name}.py").write_text(formatted(_HEADS.get(name, "") + text, f"{folder}/{name}.py"))
    (folder.parent / "__init__.py").write_text(facade(BY_HAND_HOMES | names))


def facade(homes: dict[str, str]) -> str:
    """Return `__init__.py` of the package, with imports and `__all__` for these public names by module."""
    text = (PACKAGE / "__init__.py").read_text()
    imports = "\n".join(
        f"    from jobledger_client.{home} import ({', '.join(names.split())})" for home, names in homes.items()
    )
    public = sorted({"__version__", *(name for names in homes.values() for name in names.split())})
    text = re.sub(r"(if _typing\.TYPE_CHECKING:\n).*?(\n\nelse:)", rf"\1{imports}\2", text, flags=re.DOTALL)
    text = re.sub(r"__all__ = \[.*?\]", f"__all__ = {public}", text, flags=re.DOTALL)
    return formatted(text, str(PACKAGE / "__init__.py"), "I,RUF022")


def class_name(reason: str) -> str:
    """Return the name of a reason's exception: JOB_NOT_FOUND is JobNotFoundError."""
    return "".join(word.capitalize() for word in reason.split("_")) + "Error"


def parent(reason: Reason) -> str:
    """Return the name of the parent of a reason's exception."""
    return OTHER_PARENTS.get(reason.name) or PARENTS.get(reason.code, "JobledgerError")


_HEADS = {
    "_enums": HEADER.format(
        title="The enums of the contract. Their members are equal to the numbers in messages: "
        "`job.state == JobState.RUNNING`."
    )
    + "from jobledger_client._contract_enum import ContractEnum\n\n\n",
    "_errors": HEADER.format(title="The exceptions of failed calls, one for each reason.")
    + f"from jobledger_client._error_groups import ({', '.join(sorted({*PARENTS.values(), 'JobledgerError'}))})\n\n\n",
}


def _enum(file: FileDescriptorProto, enum: EnumDescriptorProto) -> str:
    comments, place = Comments.of(file), list(file.enum_type).index(enum)
    prefix = re.sub(r"(?<!^)([A-Z])", r"_\1", enum.name).upper() + "_"
    text = _without_subject(comments.line(5, place), enum.name)
    lines = [f"class {enum.name}(ContractEnum):", _docstring(text)]
    for number, value in enumerate(enum.value):
        if value.number:
            lines.append(f"    {value.name.removeprefix(prefix)} = {value.number}")
            lines.append(_docstring(comments.line(5, place, 2, number).replace(prefix, "")))
    return "\n".join(lines) + "\n"


def _exception(reason: Reason) -> str:
    text = _capitalised(reason.text)
    for name, attribute in NAMES_OF_SDK.items():
        text = text.replace(name, attribute)
    return (
        f"class {class_name(reason.name)}({parent(reason)}):\n{_docstring(text, f'{reason.name} ({reason.code}).')}\n"
    )


def _by_reason(exceptions: list[Reason]) -> str:
    pairs = ", ".join(f'"{reason.name}": {class_name(reason.name)}' for reason in exceptions)
    return f"\n\nBY_REASON: dict[str, type[JobledgerError]] = {{{pairs}}}\n"


def _without_subject(comment: str, name: str) -> str:
    """Return `JobState is the state of a job.` as `The state of a job.`."""
    return _capitalised(re.sub(rf"^{name} (?:is |says )?", "", comment))


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _docstring(text: str, note: str = "") -> str:
    """Return a docstring with its first sentence in the first line, where it fits there."""
    first, _, rest = text.partition(". ")
    rest = " ".join(part for part in (rest, note) if part)
    lines = [f'"""{first.removesuffix(".")}.', *([""] if rest else []), *textwrap.wrap(rest, 112)]
    quoted = "\n".join(lines) + ('\n"""' if rest else '"""')
    return textwrap.indent(quoted, "    ")


if __name__ == "__main__":
    main()
