"""The generated references have all that there is, and a site that loads something from elsewhere is found."""

import re
from pathlib import Path

import jobledger_client
import pytest
import typer
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto
from jobledger_client import celery, outbox, testing
from jobledger_client.cli._main import application
from jobledger_service.cli.main import cli as server_cli

from tests.docs.documents import ROOT
from website import commands, sdk
from website.check import loads
from website.contract import ContractPages, load

pytestmark = [pytest.mark.one_store("the references see no store"), pytest.mark.slow]

PROTOS = ROOT / "protos"
ANCHOR = re.compile(r'\{ #([\w.]+) \}|<a id="([\w.]+)"')


def names_of(message: DescriptorProto, name: str) -> set[str]:
    """Return the names in a message: its own, those of its fields, and those of what is declared in it."""
    nested = {
        one
        for inner in message.nested_type
        if not inner.options.map_entry
        for one in names_of(inner, f"{name}.{inner.name}")
    }
    enums = {one for enum in message.enum_type for one in values_of(enum, f"{name}.{enum.name}")}
    return {name, *(f"{name}.{one.name}" for one in message.field)} | nested | enums


def values_of(enum: EnumDescriptorProto, name: str) -> set[str]:
    return {name, *(f"{name}.{one.name}" for one in enum.value)}


def test_each_name_of_the_contract_has_an_anchor():
    pages = dict(ContractPages(PROTOS).pages())
    for file in load(PROTOS):
        services = {one.name for one in file.service}
        methods = {f"{one.name}.{method.name}" for one in file.service for method in one.method}
        messages = {name for one in file.message_type for name in names_of(one, one.name)}
        enums = {name for one in file.enum_type for name in values_of(one, one.name)}
        anchors = [one or other for one, other in ANCHOR.findall(pages[Path(file.name).stem + ".md"])]
        assert len(anchors) == len(set(anchors)), file.name
        assert set(anchors) == services | methods | messages | enums, file.name


def test_each_link_of_the_contract_leads_to_an_anchor():
    pages = dict(ContractPages(PROTOS).pages())
    anchors = {name: {one or other for one, other in ANCHOR.findall(text)} for name, text in pages.items()}
    links = {link for text in pages.values() for link in re.findall(r"\]\((\w+\.md)#([\w.]+)\)", text)}
    assert [link for link in links if link[1] not in anchors[link[0]]] == []
    assert len(links) > 100


@pytest.mark.parametrize(("program", "app"), [("jobledger", application()), ("jobledger-server", server_cli)])
def test_each_command_has_a_heading(program: str, app: typer.Typer):
    headings = re.findall(r"^#+ (.+)$", dict(commands.pages())[f"{program}.md"], re.MULTILINE)
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    paths = [f"{program} {name}" for name in group.commands]
    below = [
        f"{program} {name} {inner}"
        for name, one in group.commands.items()
        if isinstance(one, typer.core.TyperGroup)
        for inner in one.commands
    ]
    assert set(headings) == {program, *paths, *below}


def test_each_public_name_of_the_sdk_is_on_a_page():
    listed = [name for _, text in sdk.pages() for name in re.findall(r"^::: (\S+)$", text, re.MULTILINE)]
    public = [
        *(f"jobledger_client.{name}" for name in jobledger_client.__all__ if name != "__version__"),
        *(f"jobledger_client.testing.{name}" for name in testing.__all__),
        *(f"jobledger_client.celery.{name}" for name in celery.__all__),
        *(f"jobledger_client.outbox.{name}" for name in outbox.__all__),
    ]
    assert sorted(listed) == sorted(public)


@pytest.mark.parametrize(
    ("name", "text", "count"),
    [
        ("a.html", '<script src="https://cdn.example/x.js"></script><img src="//cdn.example/x.png">', 2),
        ("a.html", '<link rel="stylesheet" href="http://fonts.example/css"><a href="https://example.org">here</a>', 1),
        ("a.html", '<pre class="mermaid"><code>graph TD</code></pre>', 1),
        ("a.html", '<script src="x.js"></script><img src="data:image/png;base64,AA">', 0),
        ("a.css", "@import 'https://fonts.example/css'; a { background: url(//cdn.example/x.png) }", 2),
        ("a.css", "a { background: url(x.png) }", 0),
    ],
)
def test_what_a_page_loads_from_elsewhere_is_found(name: str, text: str, count: int, tmp_path: Path):
    (tmp_path / name).write_text(text)
    assert len(loads(tmp_path / name)) == count
