"""Whatever two owners do by the public interface, each sees his own jobs as a plain model has them, and no others."""

from collections.abc import Iterator

import pytest

from tests.fuzz.callers import Owner
from tests.fuzz.ledger_model import Ledger
from tests.fuzz.owners import drive, two_owners


@pytest.fixture(scope="module")
def callers(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Owner]]:
    """Return the services as each of two owners, and a fleet that serves both, calls them."""
    with two_owners(store, tmp_path_factory.mktemp("owners")) as callers:
        yield callers


@pytest.mark.guarantee("3b.8")
def test_the_service_is_as_its_model(callers: dict[str, Owner]):
    drive(callers, number=1, examples=4, steps=20)


@pytest.mark.long
def test_the_service_is_as_its_model_through_long_lives(callers: dict[str, Owner]):
    drive(callers, number=2, examples=10, steps=50)


@pytest.mark.one_store("it is the model that is tested here")
def test_a_service_that_differs_from_its_model_is_found(callers: dict[str, Owner], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Ledger, "waiting", lambda self, owner, kinds: [])
    with pytest.raises(AssertionError):
        drive(callers, number=3, examples=20, steps=20, shrinks=False)
