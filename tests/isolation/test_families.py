"""The families of batches in tests are those of a server."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from jobledger_service.app import FEATURES
from jobledger_service.core.feature import core
from jobledger_service.core.write.row_families import OpenFamily, RowFamily, open_families
from jobledger_service.core.write.undo import Undo
from jobledger_service.core.write.writing import WriteStore

from tests.isolation.kernels import opened
from tests.support.families import all_families


@pytest.mark.one_store("the list of families is the same on every store")
async def test_families_of_tests_are_those_of_a_server(tmp_path: Path):
    async with opened(f"sqlite:///{tmp_path / 'jobs.db'}") as ledger:
        kernel = ledger.kernel
        features = [make(kernel) for make in FEATURES]
        registered = [family for feature in (core(kernel, features), *features) for family in feature.families]
        with WriteStore(kernel.database).transaction() as transaction:

            def types_of(families: Iterable[OpenFamily]) -> Counter[type[RowFamily]]:
                return Counter(type(family) for family in open_families(families, transaction, Undo()))

            assert types_of(all_families(kernel.database)) == types_of(registered)
        for feature in features:
            if feature.close is not None:
                await feature.close()
