"""What a watch does that breaks among its first snapshots, when there is no cursor to resume from yet."""

from jobledger.v1.job_pb2 import Job

Name = tuple[str, str]  # owner and job_id


class FirstSnapshots:
    """The jobs that a watch passed on before its first cursor, so that beginning again repeats and forgets nothing."""

    def __init__(self) -> None:
        self._passed: dict[Name, int] = {}
        self._on_this_stream: set[Name] = set()

    def begin(self) -> None:
        """Note that a stream begins, from the start."""
        self._on_this_stream.clear()

    def is_news(self, job: Job) -> bool:
        """Tell whether this revision of the job was not passed on before, and note it."""
        name = (job.owner, job.job_id)
        self._on_this_stream.add(name)
        known = self._passed.get(name, 0)
        self._passed[name] = max(known, job.revision)
        return job.revision > known

    def end(self) -> list[Job]:
        """Note that the first cursor came; return the jobs that went away while the watch began again: names alone."""
        gone = [name for name in self._passed if name not in self._on_this_stream]
        self._passed.clear()
        self._on_this_stream.clear()
        return [Job(owner=owner, job_id=job_id) for owner, job_id in gone]
