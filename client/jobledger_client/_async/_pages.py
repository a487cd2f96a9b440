"""Lists: item by item over as many pages as there are, or page by page."""

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Generic, Protocol, TypeVar


class Page(Protocol):
    """What every page has: where the next one is."""

    @property
    def next_page_token(self) -> str:
        """The token of the next page; empty on the last."""


AnyPage = TypeVar("AnyPage", bound=Page)
AnyPage_co = TypeVar("AnyPage_co", bound=Page, covariant=True)
Item = TypeVar("Item")


class AsyncFetch(Protocol[AnyPage_co]):
    """How a page is read."""

    async def __call__(self, page_token: str, /) -> AnyPage_co:
        """Return the page of this token; the first, for an empty one."""


class AsyncPages(Generic[AnyPage, Item]):
    """A list that has not been read yet. Iterating reads it item by item, asking for the next page when it is needed.

    Each iteration begins anew. Errors are those of the list call: InvalidFieldError, PageTokenInvalidError,
    JobNotFoundError.
    """

    def __init__(
        self,
        fetch: AsyncFetch[AnyPage],
        items: Callable[[AnyPage], Iterable[Item]],
        page_token: str = "",
    ) -> None:
        self._fetch = fetch
        self._items = items
        self._page_token = page_token

    def items(self, page: AnyPage) -> Iterable[Item]:
        """Return what is on a page. A page of jobs may have few, or none, while there are more to come."""
        return self._items(page)

    async def page(self) -> AnyPage:
        """Return the first page alone, with what it says beside the items: next_page_token, total_size, cursor."""
        return await self._fetch(self._page_token)

    async def pages(self) -> AsyncIterator[AnyPage]:
        """Yield page after page, as the service sent them."""
        page = await self.page()
        yield page
        while page.next_page_token:
            page = await self._fetch(page.next_page_token)
            yield page

    async def __aiter__(self) -> AsyncIterator[Item]:
        async for page in self.pages():
            for item in self._items(page):
                yield item
