"""The metadata of every call, such as `authorization`."""

import os
from collections.abc import Callable, Iterable, Mapping

Pairs = Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]]
MetadataSource = Pairs | Callable[[], Pairs] | None


def metadata_reader(
    source: MetadataSource, api_key: str | None = None
) -> Callable[[], tuple[tuple[str, str | bytes], ...]]:
    """Return a function that returns the metadata of one attempt; it calls a callable source each time.

    The API key is `api_key`, or JOBLEDGER_API_KEY of now, unless the metadata have an `authorization`.
    """
    token = os.environ.get("JOBLEDGER_API_KEY", "") if api_key is None else api_key
    key = (("authorization", f"Bearer {token}"),) if token else ()
    if callable(source):
        return lambda: _pairs(source(), key)
    fixed = _pairs(source or (), key)
    return lambda: fixed


def _pairs(metadata: Pairs, key: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str | bytes], ...]:
    items = metadata.items() if isinstance(metadata, Mapping) else metadata
    pairs = tuple((name.lower(), value) for name, value in items)
    return pairs if any(name == "authorization" for name, _ in pairs) else (*key, *pairs)
