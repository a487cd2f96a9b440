"""What is kept of encoded parts is bounded in bytes, whatever callers send."""

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from uuid import UUID

import pytest
from jobledger_service.core.api import codec, convert
from jobledger_service.core.model.bounds.limits import MAX_STAGES
from jobledger_service.core.model.bounds.slots import MAX_LIMITED_LABELS
from jobledger_service.core.model.filters.search import label_digest
from jobledger_service.core.model.history.change import Change, ChangeType
from jobledger_service.core.model.job import JobSpec, Stage
from jobledger_service.core.model.retry import RetryPolicy
from jobledger_service.core.model.states import JobState

MIB = 1024 * 1024
WIDE = "\N{GRINNING FACE}"
"""A character of the most bytes."""


def large_spec(number: int, stages: int) -> JobSpec:
    """Return a spec of which each value is as long as it may be, with so many stages."""
    return JobSpec(
        "o" * 64,
        f"{number:0128}",
        "k" * 128,
        bytes(32),
        retry_policy=RetryPolicy(number + 1),
        stages=tuple(Stage(f"{number:05}{index:03}".ljust(128, WIDE)) for index in range(stages)),
        traceparent="t" * 55,
        unique_key=f"{number:05}".ljust(256, "u"),
        uid_bytes=UUID(int=number + 1).bytes,
        limited_labels=tuple(f"{number:05}{index}".ljust(63, "l") for index in range(MAX_LIMITED_LABELS)),
    )


def keep_fixed(stages: int) -> Callable[[int], object]:
    """Return a function that encodes what never changes of the job of a number."""
    encode = convert._fixed if stages <= convert.FEW_STAGES else convert._fixed_of_many_stages
    return lambda number: encode(large_spec(number, stages))


def keep_of_events(number: int) -> object:
    """Encode what all events of a job have in common."""
    return codec._event_of("o" * 64, f"{number:0128}", UUID(int=number + 1).bytes)


def keep_change(number: int) -> object:
    """Encode a change with the longest values."""
    reason, task_id = f"{number:05}".ljust(1_024, WIDE), f"{number:05}".ljust(256, WIDE)
    runs = tuple((2 * index + number, 2 * index + number) for index in range(20))
    states = (JobState.FAILED, JobState.RUNNING)
    return convert.encoded_change(Change(ChangeType.RETRIED, "a" * 128, *states, number, reason, 1, task_id, 99, runs))


def keep_digest(number: int) -> object:
    """Compute the digest of a label."""
    return label_digest("n" * 63, f"{number:05}".ljust(256, WIDE))


@pytest.fixture(autouse=True)
def _emptied() -> Iterator[None]:
    yield
    for cache in (convert._fixed, convert._fixed_of_many_stages, convert.encoded_change, codec._event_of):
        cache.cache_clear()


@pytest.mark.guarantee("3b.2")
@pytest.mark.slow
@pytest.mark.one_store("no store is used")
@pytest.mark.parametrize(
    ("keep", "most"),
    [
        pytest.param(keep_fixed(convert.FEW_STAGES), 34, id="fixed"),
        pytest.param(keep_fixed(MAX_STAGES), 11, id="fixed of many stages"),
        pytest.param(keep_of_events, 2, id="of events"),
        pytest.param(keep_change, 38, id="changes"),
        pytest.param(keep_digest, 6, id="digests"),
    ],
)
def test_what_is_kept_of_encoded_parts_is_bounded_in_bytes(keep: Callable[[int], object], most: int):
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(2_100):
            keep(number)
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept <= most * MIB
