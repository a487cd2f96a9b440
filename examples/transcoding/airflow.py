"""Airflow, pretended: `python -m examples.transcoding.airflow TARGET BUCKET_FOLDER BUCKET_URL`.

Each task of the DAG reports with an EngineTask of its own, which knows the names of the run and nothing else: in
Airflow they are processes on different machines.
"""

import sys
import time
from datetime import timedelta
from pathlib import Path

from google.protobuf.json_format import MessageToDict
from jobledger_client import ChunkNotClaimableError, EngineTask, JobClient, LeaseStatus

from examples.bucket import Bucket
from examples.engine import Run, serve

from .tasks import TASKS, BadUploadError, Work

SLOTS = 2
SPACING = 0.1  # seconds between two reports of one task
LEASE = timedelta(seconds=30)  # the longest silence of a run


class StoppedError(Exception):
    """The run was asked to end."""


class DagRun:
    """One run of the DAG: the nine tasks, one after another."""

    def __init__(self, client: JobClient, run: Run) -> None:
        self._client = client
        self._run = run
        self._reported = 0.0

    def task(self) -> EngineTask:
        """Return what a task reports with."""
        names = self._run.input
        return EngineTask(
            self._client,
            names["job_id"],
            names["chunk_index"],
            task_id=self._run.run_id,
            worker="airflow",
            lease_duration=LEASE,
        )

    def perform(self, files: Bucket) -> None:
        """Run all tasks; a failed one ends the run."""
        claimed = self.task().begin()
        work = Work(claimed.job_id, MessageToDict(claimed.job_input), files)
        for name in TASKS:
            try:
                self._perform(name, work)
            except StoppedError:
                return
            except Exception as error:  # noqa: BLE001  whatever it is, the ledger is to know
                self.task().fail(
                    type(error).__name__, str(error), stage=name, retryable=not isinstance(error, BadUploadError)
                )
                return
        self.task().complete(result_uri=files.uri(f"{work.job_id}/master.m3u8"))

    def _perform(self, name: str, work: Work) -> None:
        task = self.task()

        def tick(percent: float) -> None:
            if self._run.stopped.is_set():
                raise StoppedError
            if time.monotonic() - self._reported >= SPACING:
                self._reported = time.monotonic()
                self._go_on(task.progress(stage=name, stage_percent=percent))

        self._go_on(task.progress(stage=name, stage_percent=0, message=f"{name} of {work.source.name}"))
        artifacts = TASKS[name](work, tick)
        self._go_on(task.progress(stage=name, stage_percent=100, job_artifacts=artifacts))

    def _go_on(self, status: LeaseStatus) -> None:
        if status == LeaseStatus.LEASE_LOST or self._run.stopped.is_set():
            raise StoppedError


def main(target: str, files: Bucket) -> None:
    """Serve runs until SIGTERM."""
    client = JobClient(target)

    def perform(run: Run) -> None:
        try:
            DagRun(client, run).perform(files)
        except ChunkNotClaimableError as error:
            print(f"{run.run_id}: {error}", file=sys.stderr)

    serve("dag-run", perform, SLOTS)


if __name__ == "__main__":
    main(sys.argv[1], Bucket(Path(sys.argv[2]), sys.argv[3]))
