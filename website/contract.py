"""Pages of the contract: each service, message, field, enum and value, with its comment and an anchor."""

import html
import re
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    MethodDescriptorProto,
)

from protos.comments import Comments, load

PACKAGE = ".jobledger.v1."
GOOGLE = "https://protobuf.dev/reference/protobuf/google.protobuf/#"
WORD = re.compile(r"`[^`]*`|\b[A-Z][A-Za-z]+(?:\.[a-z_]+)?\b(?!:)|\b[A-Z]+(?:_[A-Z]+)+\b")


class ContractPages:
    """The pages of the contract, one for each proto."""

    def __init__(self, protos: Path) -> None:
        self._files = load(protos)
        self._places = dict(place for file in self._files for place in _places(file))

    def names(self) -> list[str]:
        """Return the names of the pages."""
        return [_page(file) for file in self._files]

    def pages(self) -> Iterator[tuple[str, str]]:
        """Yield the name and the text of each page."""
        for file in self._files:
            yield _page(file), "\n\n".join(_Page(file, self._places).blocks()) + "\n"

    def index(self) -> str:
        """Return lists of what the pages have: methods by service, then messages and enums by proto."""
        lines = ["## Services", ""]
        for file in self._files:
            for service in file.service:
                lines += [f"### {service.name}", "", "| method | |", "|---|---|"]
                comments = Comments.of(file)
                at = list(file.service).index(service)
                for number, method in enumerate(service.method):
                    first = (comments.paragraphs(6, at, 2, number) or [""])[0].replace("\n", " ")
                    sentence = _escaped(re.split(r"(?<=[.:])\s", first)[0].rstrip(":"))
                    lines.append(
                        f"| [{method.name}](contract/{_page(file)}#{service.name}.{method.name}) | {sentence} |"
                    )
                lines.append("")
        lines += ["## Messages and enums", "", "| proto | |", "|---|---|"]
        for file in self._files:
            named = [*(message.name for message in file.message_type), *(enum.name for enum in file.enum_type)]
            links = ", ".join(f"[{name}](contract/{_page(file)}#{name})" for name in named)
            lines.append(f"| [{_page(file).removesuffix('.md')}](contract/{_page(file)}) | {links} |")
        return "\n".join(lines) + "\n"


class _Page:
    """The page of one proto."""

    def __init__(self, file: FileDescriptorProto, places: dict[str, str]) -> None:
        self._file = file
        self._places = places
        self._comments = Comments.of(file)

    def blocks(self) -> Iterator[str]:
        yield f"# {_page(self._file).removesuffix('.md')}"
        yield f"From `protos/{self._file.name}`."
        for at, service in enumerate(self._file.service):
            yield f"## {service.name} {{ #{service.name} }}"
            yield from self._prose(6, at)
            for number, method in enumerate(service.method):
                yield from self._method(service.name, method, (6, at, 2, number))
        for at, message in enumerate(self._file.message_type):
            yield from self._message(message, message.name, (4, at))
        for at, enum in enumerate(self._file.enum_type):
            yield from self._enum(enum, enum.name, (5, at))

    def _method(self, service: str, method: MethodDescriptorProto, path: tuple[int, ...]) -> Iterator[str]:
        yield f"### {method.name} {{ #{service}.{method.name} }}"
        request = ("stream of " if method.client_streaming else "") + self._type_link(method.input_type)
        response = ("stream of " if method.server_streaming else "") + self._type_link(method.output_type)
        yield f"{request} → {response}"
        for paragraph in self._prose(*path):
            yield re.sub(r"(?:^|(?<=\. ))(Role|Class|Errors|Retry): ", r"\n\n**\1:** ", paragraph).strip()

    def _message(self, message: DescriptorProto, name: str, path: tuple[int, ...]) -> Iterator[str]:
        yield f"## {name} {{ #{name} }}"
        yield from self._prose(*path)
        if message.field:
            rows = [
                f"| {_anchor(f'{name}.{one.name}')} | {self._type_of(one, message)} | {self._cell(*path, 2, number)} |"
                for number, one in enumerate(message.field)
            ]
            yield "\n".join(["| field | type | |", "|---|---|---|", *rows])
        else:
            yield "It has no fields."
        for at, nested in enumerate(message.nested_type):
            if not nested.options.map_entry:
                yield from self._message(nested, f"{name}.{nested.name}", (*path, 3, at))
        for at, enum in enumerate(message.enum_type):
            yield from self._enum(enum, f"{name}.{enum.name}", (*path, 4, at))

    def _enum(self, enum: EnumDescriptorProto, name: str, path: tuple[int, ...]) -> Iterator[str]:
        yield f"## {name} {{ #{name} }}"
        yield from self._prose(*path)
        rows = [
            f"| {_anchor(f'{name}.{one.name}', one.name)} | {one.number} | {self._cell(*path, 2, number)} |"
            for number, one in enumerate(enum.value)
        ]
        yield "\n".join(["| value | number | |", "|---|---|---|", *rows])

    def _prose(self, *path: int) -> Iterator[str]:
        for paragraph in self._comments.paragraphs(*path):
            text = paragraph if re.search(r"^\s*- ", paragraph, re.MULTILINE) else paragraph.replace("\n", " ")
            yield self._linked(re.sub(r"(?<!\n)\n(?=- )", "\n\n", text, count=1))

    def _cell(self, *path: int) -> str:
        paragraphs = (" ".join(paragraph.split()) for paragraph in self._comments.paragraphs(*path))
        return "<br>".join(self._linked(_escaped(paragraph)) for paragraph in paragraphs)

    def _type_of(self, field: FieldDescriptorProto, message: DescriptorProto) -> str:
        entries = {f".{entry.name}": entry for entry in message.nested_type if entry.options.map_entry}
        for suffix, entry in entries.items():
            if field.type_name.endswith(suffix):
                return f"map of {self._type_of(entry.field[0], entry)} to {self._type_of(entry.field[1], entry)}"
        kind = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
        text = self._type_link(field.type_name) if field.type_name else kind
        if field.label == FieldDescriptorProto.LABEL_REPEATED:
            return f"repeated {text}"
        if field.proto3_optional:
            return f"optional {text}"
        return f"{text}, one of {message.oneof_decl[field.oneof_index].name}" if field.HasField("oneof_index") else text

    def _type_link(self, full_name: str) -> str:
        if place := self._places.get(full_name.removeprefix(PACKAGE)):
            return f"[{full_name.removeprefix(PACKAGE)}]({place})"
        name = full_name.rpartition(".")[2]
        well_known = full_name.startswith(".google.protobuf.")
        return f"[{name}]({GOOGLE}{name.lower()})" if well_known else f"`{full_name.removeprefix('.')}`"

    def _linked(self, text: str) -> str:
        """Make names of the contract in a comment into links."""

        def link(match: re.Match[str]) -> str:
            place = self._places.get(match[0])
            return f"[{match[0]}]({place})" if place else match[0]

        return WORD.sub(link, re.sub(r"<(?=\w)", "&lt;", text))


def _places(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    """Yield each name that a comment may use, and the place of what it names."""
    page = _page(file)
    for service in file.service:
        yield service.name, f"{page}#{service.name}"
        for method in service.method:
            yield method.name, f"{page}#{service.name}.{method.name}"
    for message in file.message_type:
        yield message.name, f"{page}#{message.name}"
        for field in message.field:
            yield f"{message.name}.{field.name}", f"{page}#{message.name}.{field.name}"
        for nested in message.nested_type:
            yield f"{message.name}.{nested.name}", f"{page}#{message.name}.{nested.name}"
        for enum in message.enum_type:
            yield f"{message.name}.{enum.name}", f"{page}#{message.name}.{enum.name}"
    for enum in file.enum_type:
        yield enum.name, f"{page}#{enum.name}"
        for value in enum.value:
            yield value.name, f"{page}#{enum.name}.{value.name}"
            if enum.name == "ErrorReason":
                yield value.name.removeprefix("ERROR_REASON_"), f"{page}#{enum.name}.{value.name}"


def _page(file: FileDescriptorProto) -> str:
    return Path(file.name).stem + ".md"


def _anchor(anchor: str, text: str = "") -> str:
    return f'<a id="{anchor}" href="#{anchor}"><code>{html.escape(text or anchor.rpartition(".")[2])}</code></a>'


def _escaped(text: str) -> str:
    return text.replace("|", r"\|")
