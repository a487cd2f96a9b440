"""The equivalents of a page for grpcurl, the command line and Python."""

import json
import shlex

KEY = "$JOBLEDGER_API_KEY"


def job_commands(server: str, job_id: str, owner: str, *, has_key: bool, is_tls: bool) -> dict[str, str]:
    """Return how to get, list and watch one job, by the name of the tool. `owner` is empty for the key's own."""
    return {
        "jobledger": _command_line(server, job_id, owner, is_tls=is_tls),
        "grpcurl": _grpcurl(server, job_id, owner, has_key=has_key, is_tls=is_tls),
        "Python": _python(server, job_id, owner),
    }


def _command_line(server: str, job_id: str, owner: str, *, is_tls: bool) -> str:
    options = f"--target {shlex.quote(server)}" + (" --tls" if is_tls else "")
    whose = f" --owner {shlex.quote(owner)}" if owner else ""
    words = [f"{verb} {shlex.quote(job_id)}{whose}" for verb in ("get", "watch", "chunks", "attempts", "events")]
    return "\n".join(f"jobledger {options} {line}" for line in words)


def _grpcurl(server: str, job_id: str, owner: str, *, has_key: bool, is_tls: bool) -> str:
    options = ("" if is_tls else "-plaintext ") + (f'-H "authorization: Bearer {KEY}" ' if has_key else "")
    whose: dict[str, object] = {"owner": owner} if owner else {}
    of_job = whose | {"job_id": job_id}
    requests = dict.fromkeys(("GetJob", "WatchJob", "ListChunks", "ListAttempts"), of_job)
    requests["ListEvents"] = {"job_id": job_id} | ({"filter": whose} if whose else {})
    lines = [
        f"grpcurl {options}-d {shlex.quote(json.dumps(request))} \\\n    {server} jobledger.v1.JobService/{name}"
        for name, request in requests.items()
    ]
    return "\n".join(lines)


def _python(server: str, job_id: str, owner: str) -> str:
    whose = f", owner={owner!r}" if owner else ""
    return f"""from jobledger_client import JobClient, JobState

with JobClient({server!r}) as client:  # the key is that of JOBLEDGER_API_KEY
    for message in client.watch({job_id!r}{whose}):
        print(JobState(message.job.state).name, message.job.progress.percent)
    for attempt in client.list_attempts({job_id!r}{whose}):
        print(attempt)"""
