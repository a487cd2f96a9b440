"""The artifacts of the entries in memory: each version is kept once, however many entries refer to it."""

from msgspec.structs import replace

from jobledger_service.core.store.entry import ArtifactsKey, Entry


class SharedArtifacts:
    """The artifacts in memory by version, and how many entries refer to each."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[ArtifactsKey, tuple[bytes, int]] = {}

    def hold(self, entry: Entry) -> tuple[Entry, int]:
        """Return an entry with the artifacts that are in memory already, and the bytes that it adds."""
        if not entry.artifacts:
            return entry, 0
        added, common = 0, {}
        for key, raw in entry.artifacts.items():
            kept, count = self._held.get(key, (raw, 0))
            self._held[key] = kept, count + 1
            common[key] = kept
            added += 0 if count else len(raw)
        known = {id(raw): common[key] for key, raw in entry.artifacts.items()}
        parts, chunks = ([known.get(id(part), part) for part in some] for some in (entry.parts, entry.chunks))
        return replace(entry, artifacts=common, parts=parts, chunks=chunks), added

    def release(self, entry: Entry) -> int:
        """Return the bytes that go with an entry."""
        freed = 0
        for key in entry.artifacts:
            raw, count = self._held.pop(key)
            if count > 1:
                self._held[key] = raw, count - 1
            else:
                freed += len(raw)
        return freed
