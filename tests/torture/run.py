"""One run: a world under load and faults, brought to rest, with a history that is then checked."""

import asyncio
import shutil
import time
import traceback
from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

from tests.torture.assembly import HOSTILE, OWNERS, built, make_owners
from tests.torture.checks import Violation, check
from tests.torture.crew import Crew, worker_log
from tests.torture.ending import first_cursor, record_end
from tests.torture.faults import Fault, all_faults
from tests.torture.history import History
from tests.torture.hostile import Loot, Neighbour
from tests.torture.recorder import HistoryWriter, RecordedClient
from tests.torture.workload import LIMITED, MAX_RUNNING, QUOTA, pause_kinds

FAULT_PAUSE = (0.2, 1.5)
"""Seconds between two faults."""
FAULT_BOUND = 180.0
"""Seconds after which a fault must be over."""
REST = 90.0
"""Seconds that watchers have for what came last."""
PROGRESS = 10.0
"""Seconds between two lines of progress."""
Notify = Callable[[str], None]


class Torture:
    """A run over one store, for so many seconds, from a seed; `folder` is made anew for the history."""

    def __init__(
        self, store: str, seconds: float, seed: int, folder: Path, notify: Notify, faults: Sequence[Fault] | None = None
    ) -> None:
        """`faults` are those to draw from; unless given, all that there are."""
        self.store, self.seconds, self.seed, self.folder = store, seconds, seed, folder
        self.faults = all_faults() if faults is None else list(faults)
        self.injected: dict[str, int] = {}
        self.kills = 0
        self._notify = notify
        self._end = 0.0
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._writer = HistoryWriter(folder / "calls-main.jsonl")
        self._target_choice = self._rng("targets")

    async def run(self) -> None:
        """Run, and write the history into the folder."""
        async with built(self.store, self.folder, self._rng("faults")) as (world, token):
            self._world = world
            owners = await make_owners(world.servers[0].target, token, self._rng("owners"))
            self._write_setup()
            cursor = await first_cursor(world.servers[0].target, token)
            self._end = time.monotonic() + self.seconds
            crews, loot = [], Loot()
            for owner in owners:
                secrets = [other.mark.encode() for other in owners if other is not owner]
                if owner.name == HOSTILE:
                    hostile = Neighbour(owner.token, owner.mark, secrets, self._rng("hostile"), loot, self._writer)
                else:
                    crews.append(Crew(owner, secrets, world, self._target, self._rng, self._writer, loot.take))
            admin = RecordedClient(self._target(), token, "admin", "admin", self._writer)
            pausing = pause_kinds(admin, self._target, OWNERS, self._goes_on)
            await self._load(crews, [pausing, hostile.attack(self._target, self._goes_on)])
            await admin.close()
            self._notify("the load is over; the watchers read to the end")
            async with asyncio.TaskGroup() as group:
                for crew in crews:
                    group.create_task(crew.finish(REST))
            for failure in [failure for crew in crews for failure in crew.failures()] + _tracebacks(self.folder):
                self._writer.write("defect", line=f"a part of the run failed: {failure}")
            try:
                await record_end(world, token, cursor, self.folder)
            except Exception:  # noqa: BLE001 - whatever it is, the history is kept and tells of it
                self._writer.write("no_end", line=traceback.format_exc(limit=-6))
            self._writer.close()

    def checked(self) -> tuple[History, list[Violation]]:
        """Return the history and what contradicts the guarantees."""
        history = History.load(self.folder)
        return history, check(history)

    async def _load(self, crews: list[Crew], others: list[Coroutine[Any, Any, None]]) -> None:
        """Load the world, and harm it, until the time is over."""
        for crew in crews:
            crew.start()
        async with asyncio.TaskGroup() as group:
            for task in (*others, *chain.from_iterable(crew.load(self._goes_on) for crew in crews)):
                group.create_task(task)
            group.create_task(self._inject())
            group.create_task(self._tell())

    async def _inject(self) -> None:
        """Inject one fault after another."""
        rng, log = self._world.random, self._world.log
        while self._goes_on():
            await asyncio.sleep(rng.uniform(*FAULT_PAUSE))
            faults = [fault for fault in self.faults if fault.applies(self._world)]
            if not faults or not self._goes_on():
                continue
            fault = rng.choice(faults)
            with log.injected(fault.name):
                try:
                    async with asyncio.timeout(FAULT_BOUND):
                        await fault.inject(self._world)
                except Exception:  # noqa: BLE001 - whatever it is, the run goes on and tells of it
                    log.write("defect", line=f"{fault.name} failed: {traceback.format_exc(limit=-4)}")
                    return
            self.injected, self.kills = dict(log.count), log.kills

    async def _tell(self) -> None:
        """Print how far it is."""
        while self._goes_on():
            await asyncio.sleep(min(PROGRESS, max(0.0, self._end - time.monotonic())))
            left = max(0.0, self._end - time.monotonic())
            self._notify(f"[{left:4.0f} s left] {self._writer.calls:,} calls here; faults: {self.told_faults()}")

    def told_faults(self) -> str:
        """Return the faults so far and how often each was injected."""
        counted = ", ".join(f"{name} {count}" for name, count in sorted(self.injected.items()))
        return f"{sum(self.injected.values())} with {self.kills} kills ({counted})"

    def _rng(self, name: str) -> Random:
        return Random(f"{self.seed} {self.store} {name}")

    def _goes_on(self) -> bool:
        return time.monotonic() < self._end

    def _target(self) -> str:
        return self._world.target_of(self._target_choice.choice(self._world.servers))

    def _write_setup(self) -> None:
        with closing(HistoryWriter(self.folder / "setup.jsonl")) as writer:
            writer.write(
                "setup", owners=OWNERS, quota=dict.fromkeys(OWNERS, QUOTA), max_running={LIMITED: MAX_RUNNING},
                store=self.store, seed=self.seed,
            )  # fmt: skip


def _tracebacks(folder: Path) -> list[str]:
    said = worker_log(folder)
    return [said[-2_000:]] if "Traceback" in said else []
