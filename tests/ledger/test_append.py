"""A batch encodes its events before it takes their positions: other replicas wait for the counter row."""

from contextlib import closing
from pathlib import Path

from jobledger.v1.job_service_pb2 import WatchJobResponse
from jobledger_service.core.api.codec import ProtoCodec
from jobledger_service.core.database.rows.entry import Entry, JobSegments
from jobledger_service.core.model.history.change import JobDelta
from sqlalchemy import event

from tests.support.ledger import Ledger, create


class NotedCodec(ProtoCodec):
    """A codec that notes in `steps` what it encodes."""

    def __init__(self, steps: list[str]) -> None:
        super().__init__()
        self._steps = steps

    def encode(self, delta: JobDelta, segments: JobSegments, *, with_previous: bool = False) -> Entry:
        """Note it, and encode it."""
        self._steps.append("encode")
        return super().encode(delta, segments, with_previous=with_previous)


def test_events_are_encoded_before_positions_are_taken(tmp_path: Path):
    steps: list[str] = []
    with closing(Ledger(tmp_path / "jobs.db", NotedCodec(steps))) as ledger:

        def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            for table, step in (("UPDATE ledger", "take"), ("INSERT INTO events", "insert")):
                if statement.startswith(table):
                    steps.append(step)

        with ledger.database.write():  # begins a term
            pass
        event.listen(ledger.database.writer, "before_cursor_execute", note)
        _, [commit] = ledger.executor.run([create("a"), create("b"), create("c")])
        assert steps[:4] == ["encode"] * 3 + ["take"]
        assert set(steps[4:]) == {"insert"}
        stored = ledger.reads.events(0, 10).rows

    assert [entry.position for entry in commit.entries] == [row.position for row in stored] == [1, 2, 3]
    assert [entry.message for entry in commit.entries] == [row.message for row in stored], (
        "what is fed is what is stored"
    )
    ends = [WatchJobResponse.FromString(row.message) for row in stored]
    assert [end.event.position for end in ends] == [1, 2, 3]
    assert len({end.event.commit_time.ToMicroseconds() for end in ends}) == 1
