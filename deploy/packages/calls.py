"""What `make dist` runs with the SDK of a clean environment: `python calls.py TARGET` makes each of the first calls."""

import sys
from importlib.util import find_spec

from jobledger_client import JobClient, JobState

KIND = "packages.trial"


def main(target: str) -> None:
    """Create a job, work it off and watch it to its end."""
    for package in ("jobledger_service", "sqlalchemy", "tests"):
        assert find_spec(package) is None, f"the SDK brings {package}"
    with JobClient(target) as client:
        job = client.create_job(KIND, item_count=1_000).job
        chunks = client.leases.claim_chunks([KIND], worker="trial", max_chunks=10)
        results = client.leases.complete_chunks([chunk.lease.token for chunk in chunks])
        states = [message.job.state for message in client.watch(job.job_id)]
        assert len(results) == len(chunks) == job.chunks_summary.total, results
        assert states[-1] == JobState.COMPLETED, states
        assert client.get_job(job.job_id).progress.percent == 100  # noqa: PLR2004
    print(job.job_id)


if __name__ == "__main__":
    main(sys.argv[1])
