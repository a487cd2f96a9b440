"""The checker finds each violation that is planted into a history, and none in the same history without it."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from tests.torture.checks import CHECKS, check
from tests.torture.history import Fault, History, Message
from tests.torture.planted import PLANTS, Plant, a_stream_is_silent, call_of, stream
from tests.torture.recorder import HistoryWriter
from tests.torture.story import told_story
from tests.torture.world import FaultLog, LostTail


def test_a_history_without_a_violation_has_none():
    assert check(told_story()) == []


@pytest.mark.parametrize(("name", "plant"), PLANTS, ids=[plant.__name__ for _, plant in PLANTS])
def test_a_planted_violation_is_found(name: str, plant: Plant):
    history = told_story()
    plant(history)
    assert name in {violation.guarantee for violation in check(history)}


def test_each_check_has_a_planted_violation():
    assert {name for name, _ in PLANTS} == CHECKS.keys()


def test_what_a_fail_over_lost_is_forgiven_to_a_stream_that_ends_for_it():
    history = told_story()
    first = call_of(history, client="alice-every")
    del stream(history, "every")[6:]
    lost = stream(history, "every")[5]
    lost.uid, lost.revision = "uid-lost", 1
    first.code, first.reason, first.end = "OUT_OF_RANGE", "HISTORY_LOST", 8.0
    second = call_of(history, client="alice-every", number=1)
    second.request = {"mode": "EVERY", "from_now": True}
    second.messages.insert(0, Message(9.0, "BOOKMARK", "anew"))
    assert [violation.guarantee for violation in check(history)] == [
        "3a.6 Resumable",
        "3d.2 What a fail-over lost is told",
    ]
    history = replace(history, lost_tails=[LostTail(kept_position=4, lost_from=4.0, promoted=8.0)])
    assert check(history) == []


def test_silence_while_a_fault_is_on_is_no_violation():
    history = told_story()
    history.faults.append(Fault("the database is silent", 10.0, 30.0))
    a_stream_is_silent(history)
    assert check(history) == []


def test_a_call_whose_outcome_is_unknown_may_have_happened():
    history = told_story()
    for call in history.calls:
        if call.method in ("CreateJob", "CompleteChunks") and call.succeeded:
            call.code, call.response = "DEADLINE_EXCEEDED", {}
    assert check(history) == []


def test_a_run_whose_end_is_not_recorded_is_reported_alone():
    history = replace(told_story(), no_end="UNAVAILABLE", events=[], jobs={})
    assert [violation.guarantee for violation in check(history)] == ["the run"]


def test_a_history_is_read_as_it_was_written(tmp_path: Path):
    writer = HistoryWriter(tmp_path / "calls-main.jsonl")
    writer.write("call", call_id="1", owner="alice", client="c", method="WatchJobs", request={"mode": "EVERY"})
    writer.write("message", call_id="1", type="BOOKMARK", cursor="abc")
    writer.write("end", call_id="1", code="UNAVAILABLE", reason="DRAINING", response={})
    writer.write("call", call_id="2", owner="alice", client="w", method="ClaimChunks", request={})
    writer.close()
    log = FaultLog(tmp_path / "faults.jsonl")
    with log.injected("kill a server"):
        log.lost_tail(LostTail(4, 1.0, 2.0))
    with (tmp_path / "calls-main.jsonl").open("a") as file:
        file.write('{"record": "call", "ti')  # a process that was killed
    watch, claim = (history := History.load(tmp_path)).calls
    assert (watch.code, watch.reason, watch.messages[0].cursor) == ("UNAVAILABLE", "DRAINING", "abc")
    assert (claim.code, claim.end, claim.may_have_happened) == ("", math.inf, True)
    assert history.faults[0].start <= history.faults[0].end < math.inf
    assert history.lost_tails == [LostTail(4, 1.0, 2.0)]
