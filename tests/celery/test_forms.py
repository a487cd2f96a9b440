"""Completed means ran, in Celery too: what Celery would call without running it is refused."""

import functools
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from jobledger_client import ChunkContext
from jobledger_client._worker._handlers import check_has_run
from jobledger_client.celery import ChunkTasks

pytestmark = pytest.mark.one_store("Celery's workers see messages, not the store")


async def asynchronous(ctx: ChunkContext) -> None:
    pass


def generator(ctx: ChunkContext) -> Iterator[int]:
    yield 1


@pytest.mark.parametrize("function", [asynchronous, functools.partial(asynchronous), generator])
def test_what_celery_cannot_run_to_its_end_is_refused_when_it_is_bound(function: Any):
    bind = ChunkTasks(Celery("forms")).task("forms.x")
    with pytest.raises(TypeError, match="must"):
        bind(function)


@pytest.mark.parametrize("function", [asynchronous, generator])
def test_what_a_function_hid_from_celery_fails_its_chunk(function: Any):
    with pytest.raises(TypeError, match="has not run"):
        check_has_run(function(None))
    check_has_run(None)
