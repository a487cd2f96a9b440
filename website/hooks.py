"""Hooks of mkdocs: the generated references, the documents outside `docs/`, and links to files that are no pages."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Union

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
sys.path.insert(0, str(ROOT))

from mkdocs.config.defaults import MkDocsConfig  # noqa: E402
from mkdocs.structure.files import File, Files  # noqa: E402
from mkdocs.structure.pages import Page  # noqa: E402

from website import commands, sdk  # noqa: E402
from website.contract import ContractPages  # noqa: E402

FROM_ROOT = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
"""Documents of the root that are pages of the site."""
PAGES_OF = {**FROM_ROOT, "README.md": "index.md"}
PROTO = re.compile(r"protos/jobledger/v1/(\w+)\.proto")
LINK = re.compile(r"\[([^\]\[]+)\]\(([^)\s]+)\)")
CODE = re.compile(r"(^```.*?^```)", re.MULTILINE | re.DOTALL)
REFERENCES = "reference"

Item = Union[str, dict[str, Union[str, list["Item"]]]]  # noqa: UP007 - it names itself

contract = ContractPages(ROOT / "protos")
indexes: dict[str, str] = {}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the generated pages and the decisions into the navigation, where a folder stands for them.

    A page that does not exist is left out; one that exists and is not in the navigation is an error of the build.
    """
    folders = {
        f"{REFERENCES}/contract/": contract.names(),
        f"{REFERENCES}/cli/": [name for name, _ in commands.pages()],
        f"{REFERENCES}/sdk/": [name for name, _ in sdk.pages()],
        "adr/": sorted(path.name for path in (DOCS / "adr").glob("[0-9]*.md")),
    }
    config.nav = list(_items(config.nav or [], folders))
    return config


def _items(nav: list[Item], folders: dict[str, list[str]]) -> Iterator[Item]:
    for item in nav:
        if isinstance(item, dict):
            yield {
                title: page if isinstance(page, str) else list(_items(page, folders)) for title, page in item.items()
            }
        elif item in folders:
            yield from (item + name for name in folders[item])
        elif item in FROM_ROOT.values() or (DOCS / item).exists():
            yield item


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are generated, and those of documents outside `docs/`."""
    indexes[f"{REFERENCES}/contract.md"] = contract.index()
    for folder, pages in (("contract", contract.pages()), ("cli", commands.pages()), ("sdk", sdk.pages())):
        for name, text in pages:
            files.append(File.generated(config, f"{REFERENCES}/{folder}/{name}", content=text))
    for name, page in FROM_ROOT.items():
        files.append(File.generated(config, page, content=_linked((ROOT / name).read_text(), "")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - of mkdocs
    """Complete the indexes of references, and let links to files outside `docs/` name these files."""
    uri = page.file.src_uri
    if page.file.generated_by is None or page.file.abs_src_path is not None:
        markdown = _linked(markdown, f"docs/{PurePosixPath(uri).parent}")
    return markdown + "\n" + indexes[uri] if uri in indexes else markdown


def _linked(markdown: str, folder: str) -> str:
    """Rewrite the links of a document that stands in a folder of the repository for the site."""

    def rewritten(match: re.Match[str]) -> str:
        text, link = match.groups()
        if "://" in link or link.startswith("#"):
            return match[0]
        file, hash_, anchor = link.partition("#")
        path = normpath(f"{folder}/{file}" if folder else file)
        at = folder.removeprefix("docs").strip("/") or "."
        if path.startswith("docs/"):
            return f"[{text}]({relpath(path.removeprefix('docs/'), at)}{hash_}{anchor})"
        if proto := PROTO.fullmatch(path):
            return f"[{text}]({relpath(f'{REFERENCES}/contract/{proto[1]}.md', at)}{hash_}{anchor})"
        if path in PAGES_OF:
            return f"[{text}]({relpath(PAGES_OF[path], at)}{hash_}{anchor})"
        return text if text.strip("`") in {path, PurePosixPath(path).name} else f"{text} (`{path}`)"

    return "".join(part if part.startswith("```") else LINK.sub(rewritten, part) for part in CODE.split(markdown))
