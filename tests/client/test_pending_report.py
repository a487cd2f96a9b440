"""What a worker has to report: coalesced, confirmed, and never lost in between."""

from typing import Any

from jobledger.v1.chunk_pb2 import Artifact
from jobledger.v1.worker_service_pb2 import ProgressReport
from jobledger_client._worker._pending import PendingReport


def pending(*, has_plan: bool = False) -> tuple[PendingReport, list[int]]:
    woken: list[int] = []
    return PendingReport(has_plan=has_plan, wake=lambda: woken.append(1)), woken


def sent(one: PendingReport) -> dict[str, Any]:
    """Return the progress that would be sent now."""
    report = one.snapshot().report
    return {
        field.name: value
        for field, value in report.ListFields()
        if field.name not in ("stage_duration", "artifacts", "passed_stages")
    }


def test_the_latest_of_each_value_is_sent():
    one, woken = pending()
    one.add_progress(ProgressReport(percent=10, message="first"))
    one.add_progress(ProgressReport(percent=20))
    assert sent(one) == {"percent": 20, "message": "first"}
    assert len(woken) == 2


def test_a_new_stage_begins_at_its_own_beginning():
    one, _ = pending()
    one.add_progress(ProgressReport(percent=40, stage="decode", stage_percent=80))
    one.add_progress(ProgressReport(stage="encode"))
    assert sent(one) == {"percent": 40, "stage": "encode"}


def test_with_a_plan_a_stage_is_newer_than_a_percentage_before_it():
    one, _ = pending(has_plan=True)
    one.add_progress(ProgressReport(percent=40))
    one.add_progress(ProgressReport(stage="encode", stage_percent=5))
    assert sent(one) == {"stage": "encode", "stage_percent": 5}


def test_counted_items_are_newer_than_a_percentage_before_them():
    one, _ = pending()
    one.add_progress(ProgressReport(percent=40))
    one.add_progress(ProgressReport(items_completed=7))
    assert sent(one) == {"items_completed": 7}


def test_what_is_confirmed_is_not_sent_again():
    one, _ = pending()
    one.add_progress(ProgressReport(percent=40))
    one.add_artifact("a", Artifact(uri="s3://b/a"), job=False)
    one.add_artifact("j", Artifact(uri="s3://b/j"), job=True)
    taken = one.snapshot()
    assert (set(taken.report.artifacts), set(taken.report.job_artifacts)) == ({"a"}, {"j"})
    one.confirm(taken)
    assert not one


def test_what_comes_while_a_report_is_on_its_way_remains():
    one, _ = pending()
    one.add_progress(ProgressReport(percent=40))
    one.add_artifact("a", Artifact(uri="s3://b/old"), job=False)
    taken = one.snapshot()
    one.add_progress(ProgressReport(message="newer"))
    one.add_artifact("a", Artifact(uri="s3://b/new"), job=False)
    one.confirm(taken)
    assert sent(one) == {"percent": 40, "message": "newer"}
    assert one.snapshot().report.artifacts["a"].uri == "s3://b/new"


def test_a_report_that_was_lost_is_sent_again():
    one, _ = pending()
    one.add_artifact("a", Artifact(uri="s3://b/a"), job=False)
    one.snapshot()
    assert "a" in one.snapshot().report.artifacts
