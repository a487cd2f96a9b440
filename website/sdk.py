"""Pages of the SDK: its public names in groups, for mkdocstrings to fill in from their docstrings."""

from collections.abc import Iterator

from jobledger_client import celery, outbox, testing
from jobledger_client._public import HOMES

GROUPS = {
    "clients": ("Clients and their calls", ("_sync",)),
    "asynchronous": ("Asynchronous clients and their calls", ("_async",)),
    "workers": ("Workers and engines", ("_worker", "_engines")),
    "values": ("Values, policies and filters", ()),
    "enums": ("Enums", ("_generated._enums", "_terminal_states")),
    "errors": ("Errors", ("_error_groups", "_generated._errors")),
}
"""The pages, each with its title and the modules whose names it has; `values` has those of all others."""


def pages() -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each page; every public name is on one of them."""
    for page, names in _grouped().items():
        yield f"{page}.md", _page(GROUPS[page][0], "jobledger_client", names)
    yield "testing.md", _page("Testing", "jobledger_client.testing", testing.__all__)
    yield "celery.md", _page("Celery", "jobledger_client.celery", celery.__all__)
    yield "outbox.md", _page("Outbox", "jobledger_client.outbox", outbox.__all__)


def _page(title: str, module: str, names: list[str]) -> str:
    return "\n".join(
        [f"# {title}\n", *(f"::: {module}.{name}\n    options:\n      heading_level: 2\n" for name in names)]
    )


def _grouped() -> dict[str, list[str]]:
    """Return the public names of the SDK by page, each by the module that it is in."""
    page_of = {module: page for page, (_, modules) in GROUPS.items() for module in modules}
    names_by_page: dict[str, list[str]] = {page: [] for page in GROUPS}
    for home, names in HOMES.items():
        names_by_page[(page_of.get(home) or page_of.get(home.partition(".")[0], "values"))] += names.split()
    return names_by_page
