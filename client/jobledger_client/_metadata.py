"""What every call carries beside its request, such as `authorization`."""

from collections.abc import Callable, Iterable, Mapping

Pairs = Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]]
MetadataSource = Pairs | Callable[[], Pairs] | None


def metadata_reader(source: MetadataSource) -> Callable[[], tuple[tuple[str, str | bytes], ...]]:
    """Return a function that gives the metadata for one attempt: of a callable anew each time, for keys that rotate."""
    if callable(source):
        return lambda: _pairs(source())
    fixed = _pairs(source or ())
    return lambda: fixed


def _pairs(metadata: Pairs) -> tuple[tuple[str, str | bytes], ...]:
    items = metadata.items() if isinstance(metadata, Mapping) else metadata
    return tuple((name.lower(), value) for name, value in items)
