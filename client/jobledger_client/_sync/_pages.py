# Generated from _async/_pages.py by client/generate_sync.py: edit that module, then run `make gen`.
"""Lists: item by item over all pages, or page by page."""

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from jobledger_client._sync._caller import Caller

if TYPE_CHECKING:
    from jobledger_client._sync._backend import UnaryCall


class Page(Protocol):
    """A response with a token for the next page."""

    @property
    def next_page_token(self) -> str:
        """The token of the next page; empty on the last."""


AnyPage = TypeVar("AnyPage", bound=Page)
Item = TypeVar("Item")


class Pages(Generic[AnyPage, Item]):
    """A list that has not been read yet. Iterating reads it item by item and requests pages as it needs them.

    Each iteration starts at the first page. Errors are those of the list call: InvalidFieldError,
    PageTokenInvalidError, JobNotFoundError.
    """

    def __init__(
        self,
        caller: Caller,
        method: "UnaryCall[Any, AnyPage]",
        request: Any,  # noqa: ANN401 - a message with a page_token
        items: Callable[[AnyPage], Iterable[Item]],
        timeout: timedelta | None,
    ) -> None:
        self._caller = caller
        self._method: UnaryCall[Any, AnyPage] = method
        self._request = request
        self._items = items
        self._timeout = timeout

    def items(self, page: AnyPage) -> Iterable[Item]:
        """Return the items of a page. A page of jobs may have few, or none, while more follow."""
        return self._items(page)

    def page(self) -> AnyPage:
        """Return the first page with what it has beside the items: next_page_token, total_size, cursor."""
        return self._fetch(self._request.page_token)

    def pages(self) -> Iterator[AnyPage]:
        """Yield the pages as the service sends them."""
        page = self.page()
        yield page
        while page.next_page_token:
            page = self._fetch(page.next_page_token)
            yield page

    def __iter__(self) -> Iterator[Item]:
        for page in self.pages():
            for item in self._items(page):
                yield item

    def _fetch(self, page_token: str) -> AnyPage:
        request = type(self._request)()
        request.CopyFrom(self._request)
        request.page_token = page_token
        return self._caller.call(self._method, request, timeout=self._timeout)
