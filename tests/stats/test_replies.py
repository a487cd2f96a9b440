"""A reply stays within what a message may hold, whatever was counted."""

from jobledger.v1.stats_pb2 import GetJobStatsResponse
from jobledger_service.core.model.limits import MAX_SUM
from jobledger_service.core.model.states import JobState
from jobledger_service.features.statistics.activity import Activity
from jobledger_service.features.statistics.replies import MAX_KINDS, reply
from jobledger_service.features.statistics.rollup import Measure
from jobledger_service.features.statistics.rules import Figures, KindFigures, StatsQuery

GRPC_LIMIT = 4 * 1024 * 1024


def test_kinds_beyond_the_most_are_in_the_total_and_in_their_number():
    kinds = {f"k.{'x' * 120}{n:04}": KindFigures(jobs={JobState.QUEUED: 1}) for n in range(MAX_KINDS + 5)}
    for one in kinds.values():
        for measure in Measure:
            one.activity.put(measure, 150, 10**12, 10**15)
    kinds["gone"] = KindFigures(jobs={JobState.QUEUED: 0})
    found = reply(StatsQuery("me", (), range(24)), Figures(kinds, {}), 0)
    assert isinstance(found, GetJobStatsResponse)
    assert (len(found.kinds), found.omitted_kinds) == (MAX_KINDS, 5)
    assert [one.kind for one in found.kinds] == sorted(kinds)[1 : MAX_KINDS + 1]
    assert found.total.now.queued == MAX_KINDS + 5
    assert found.ByteSize() < GRPC_LIMIT


def test_sums_of_many_hours_stay_within_64_bits():
    activity = Activity()
    for _ in range(4):
        activity.put(Measure.ARTIFACTS, 0, 1, MAX_SUM)
        activity.put(Measure.CHUNKS, 0, 1, MAX_SUM)
    found = reply(StatsQuery("me", (), range(24)), Figures({"k": KindFigures(activity=activity)}, {}), 0)
    assert (found.total.activity.artifact_bytes, found.total.activity.items_completed) == (MAX_SUM, MAX_SUM)
