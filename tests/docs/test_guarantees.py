"""Each guarantee of the documentation has tests, each of them is marked with it, and no mark is of another one."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from tests.support.bounds import BOUND

pytestmark = pytest.mark.one_store("the documents see messages, not the store")

ROOT = Path(__file__).parents[2]
ENTRY = re.compile(r"^- (3[a-e]\.\d+) (.+?)\s+\((`test_\w+`(?:,\s+`test_\w+`)*)\)$", re.MULTILINE | re.DOTALL)
ENTRIES = ENTRY.findall((ROOT / "docs" / "guarantees.md").read_text())
NUMBERS = [number for number, _, _ in ENTRIES]


def marks(folder: str = "tests") -> Iterator[tuple[str, str]]:
    """Yield each test of a folder that is marked, with the number of a guarantee."""
    for file in (ROOT / folder).rglob("test_*.py"):
        text = file.read_text()
        if "mark.guarantee(" in text:
            for test in ast.parse(text).body:
                if isinstance(test, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield from ((test.name, number) for number in _numbers(test))


def _numbers(test: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    for decorator in test.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.guarantee":
            yield from (ast.literal_eval(argument) for argument in decorator.args)


@pytest.fixture(scope="module")
def tests_of() -> dict[str, set[str]]:
    """Return the tests that are marked, by the number of the guarantee."""
    marked: dict[str, set[str]] = defaultdict(set)
    for test, number in marks():
        marked[number].add(test)
    return marked


def test_guarantees_are_numbered_in_order():
    assert len(ENTRIES) == (ROOT / "docs" / "guarantees.md").read_text().count("\n- ")
    chapters = dict.fromkeys(number.partition(".")[0] for number in NUMBERS)
    counts = {chapter: sum(number.startswith(f"{chapter}.") for number in NUMBERS) for chapter in chapters}
    assert list(chapters) == ["3a", "3b", "3c", "3d", "3e"]
    assert [f"{chapter}.{place}" for chapter, count in counts.items() for place in range(1, count + 1)] == NUMBERS


def test_each_guarantee_has_tests_and_each_mark_a_guarantee(tests_of: dict[str, set[str]]):
    assert set(NUMBERS) == set(tests_of)


def test_what_the_harness_checks_is_numbered_as_here():
    checks = (ROOT / "tests" / "torture" / "checks").glob("*.py")
    numbered = {
        number for file in checks for number in re.findall(r'^@guarantee\("(3\w\.\d+) ', file.read_text(), re.M)
    }
    assert numbered <= set(NUMBERS)
    assert len(numbered) > 10


@pytest.mark.parametrize(("number", "sentence", "named"), ENTRIES, ids=NUMBERS)
def test_a_guarantee_names_one_or_two_of_its_tests(
    number: str, sentence: str, named: str, tests_of: dict[str, set[str]]
):
    tests = re.findall(r"`(test_\w+)`", named)
    assert 1 <= len(tests) <= 2
    assert set(tests) <= tests_of[number]
    assert sentence.startswith("**")


def test_each_test_of_the_watch_is_named(tests_of: dict[str, set[str]]):
    numbered = re.findall(r"`(test_\d\d_\w+)`", " ".join(named for _, _, named in ENTRIES))
    all_tests = chain.from_iterable(tests_of.values())
    assert numbered == sorted(name for name in all_tests if re.match(r"test_\d\d_", name))
    assert len(numbered) == 10


@pytest.mark.slow
@pytest.mark.parametrize("number", ["3a.1", "3a"])
def test_a_number_picks_the_tests_that_are_marked_with_it(number: str):
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "--guarantee", number, "tests/watch"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=BOUND, check=True).stdout
    picked = set(re.findall(r"::(test_\w+)", printed))
    assert picked == {test for test, mark in marks("tests/watch") if mark == number or mark.startswith(f"{number}.")}
    assert "test_01_current_first" in picked
