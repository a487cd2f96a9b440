"""A crowd of jobs as a ledger has them after 90 days: owners, kinds, names, labels and outcomes, from a seed number."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from jobledger_service.core.ledger.ports import Inputs
from jobledger_service.core.ledger.write_ports import Writes
from jobledger_service.core.model.filter import Facts
from jobledger_service.core.model.job import Job, JobSpec
from jobledger_service.core.model.lifecycle import NewJob, create
from jobledger_service.core.model.states import JobState

from .stories import DAY, ERRORS, STAGES, Plot, moved_chunk, played, tell

SPAN: Final = 90 * DAY
LIVE: Final = 0.02
"""The newest jobs, as a part of all, of which some still wait or are in work."""
CHUNKS: Final = (1, 2, 3, 5, 5, 5, 8, 11)
"""How many chunks jobs have: five on average."""

_OWNERS: Final = {"default": 70, "acme": 20, "globex": 9, "initech": 1}
_KINDS: Final = {
    "crawl.images": 3_000,
    "transcode.video": 2_000,
    "ocr.pages": 1_500,
    "thumbnails.make": 1_200,
    "embed.text": 1_000,
    "report.export": 600,
    "index.rebuild": 300,
    "audio.transcribe": 200,
    "backup.verify": 150,
    "model.evaluate": 49,
    "legal.hold": 1,
}
_ENDED: Final = {JobState.COMPLETED: 88, JobState.FAILED: 7, JobState.CANCELLED: 5}
_LIVE: Final = {JobState.QUEUED: 35, JobState.RUNNING: 25, JobState.CANCELLING: 1, JobState.COMPLETED: 39}
_PRIORITIES: Final = {5: 80, 3: 8, 7: 8, 10: 2, 0: 2}
_NOUNS: Final = (
    *("Invoices", "Scans", "Holiday", "Catalogue", "Season", "Lectures", "Archive", "Receipts"),
    *("Übersicht", "Résumés", "Façade", "写真"),
)
_ENDINGS: Final = ("tar", "mp4", "pdf", "zip", "jsonl")
_TEAMS: Final = {"documents": 40, "media": 30, "search": 20, "finance": 8, "legal": 2}
_WAITS: Final = (1, 5, 60, 600)
_TAKES: Final = (4, 40, 300, 1_200, 7_200)


@dataclass(frozen=True, slots=True)
class Crowd:
    """`count` jobs, created over 90 days before `end` (microseconds since 1970), the same for the same seed number."""

    count: int
    end: int
    seed: int = 1
    chunks: Sequence[int] = CHUNKS

    def writes(self, most: int) -> Iterator[Writes]:
        """Yield all rows, those of `most` jobs at a time, oldest first."""
        chance = random.Random(self.seed)  # noqa: S311  no secret, and the same each time
        for begin in range(0, self.count, most):
            writes = Writes()
            for number in range(begin, min(begin + most, self.count)):
                self._add(writes, number, chance)
            yield writes

    def _add(self, writes: Writes, number: int, chance: random.Random) -> None:
        age = (self.count - number) / self.count
        plot = _plot(chance, _LIVE if age < LIVE else _ENDED, self.chunks)
        # The last day is left for what still happens to the newest.
        story, new = played(plot), self._new(number, self.end - DAY - round(age * (SPAN - DAY)), chance)
        job = tell(story, new, writes.tally)
        writes.new_jobs.append((job, Inputs()))
        writes.new_chunks.append((job, [moved_chunk(chunk, job) for chunk in story.chunks.values()], {}))
        writes.new_words.append((job.key, Facts.of(job).indexed))

    def _new(self, number: int, create_time: int, chance: random.Random) -> Job:
        """Return a job as it is created."""
        job_id = str(UUID(int=(create_time // 1_000 << 80) | 7 << 76 | chance.getrandbits(76) & ~(3 << 62) | 2 << 62))
        spec = JobSpec(
            _drawn(_OWNERS, chance), job_id, _drawn(_KINDS, chance), sha256(job_id.encode()).digest(), stages=STAGES
        )
        name = f"{chance.choice(_NOUNS)} {number % 97:02d} part_{number:07d}.{chance.choice(_ENDINGS)}"
        labels = {"team": _drawn(_TEAMS, chance), "customer": f"c{int(5_000 * chance.random() ** 3)}"}
        if chance.random() < 0.5:  # noqa: PLR2004  every other
            labels["env"] = "production"
        new = NewJob(spec, [], display_name=name, priority=_drawn(_PRIORITIES, chance), labels=labels)
        return create(new, "caller", create_time).job


def _plot(chance: random.Random, states: Mapping[JobState, int], chunks: Sequence[int]) -> Plot:
    state = _drawn(states, chance)
    takes = chance.choice(_TAKES)
    error = chance.randrange(len(ERRORS)) if state in (JobState.FAILED, JobState.CANCELLED) else 0
    return Plot(state, chance.choice(chunks), chance.choice(_WAITS), takes, error)


def _drawn(weights: Mapping[Any, int], chance: random.Random) -> Any:  # noqa: ANN401  a key
    return chance.choices(list(weights), list(weights.values()))[0]
