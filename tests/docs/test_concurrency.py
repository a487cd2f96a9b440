"""The lists of docs/adr/0065 name every task, thread, process and lock of the code, and nothing that is not there."""

import re
from collections.abc import Callable

import pytest

from tests.docs.documents import ROOT
from tests.docs.source_code import async_functions, calls, divided_changes

pytestmark = pytest.mark.one_store("the examples see messages, not the store")

[RECORD] = (ROOT / "docs" / "adr").glob("0065-*.md")
TASKS = ("create_task", "ensure_future", "TaskGroup", "run_coroutine_threadsafe", "call_later")
THREADS = ("Thread", "Timer", "ThreadPoolExecutor", "ProcessPoolExecutor", "to_thread", "call_soon_threadsafe")
PROCESSES = ("create_subprocess_exec", "create_subprocess_shell", "Popen", "fork", "Process")
LOCKS = ("Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore", "Barrier")
ROW_LOCKS = ("with_for_update", "lock", "try_lock", "pg_advisory_xact_lock", "pg_try_advisory_xact_lock")


def entries(heading: str) -> set[tuple[str, str]]:
    """Return what the list below a heading names: `module` `name`, or `module` `name`, `name` for several names."""
    sections = re.split(r"^## ", RECORD.read_text(), flags=re.MULTILINE)
    [section] = [text for text in sections if text.startswith(heading)]
    lists = re.findall(r"`([\w/]+)`\s+(`\w+`(?:,\s+`\w+`)*)", section)
    named = [(module, name) for module, names in lists for name in re.findall(r"`(\w+)`", names)]
    assert len(named) == len(set(named)), "an entry is there twice"
    return set(named)


@pytest.mark.parametrize(
    ("heading", "found"),
    [
        pytest.param("Tasks and timers", lambda: calls(TASKS), id="tasks"),
        pytest.param("Threads and processes", lambda: calls((*THREADS, *PROCESSES)), id="threads"),
        pytest.param("Locks in memory", lambda: calls(LOCKS), id="locks"),
        pytest.param("Locks in the database", lambda: calls(ROW_LOCKS), id="row locks"),
    ],
)
def test_the_lists_name_what_the_code_starts_and_locks(heading: str, found: Callable[[], set[tuple[str, str]]]):
    assert entries(heading) == found()


def test_the_list_of_awaits_names_each_coroutine_that_changes_what_outlives_it():
    named = entries("State that an await divides")
    assert divided_changes() - named == set()
    assert named - async_functions() == set()
