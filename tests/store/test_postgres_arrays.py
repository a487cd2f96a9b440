"""PostgreSQL's arrays as we encode them: psycopg reads the same values back."""

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobledger_service.core.database.postgres import connections  # registers how arrays are sent
from jobledger_service.core.database.postgres.arrays import ARRAYS, Array
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import Format


def integers(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


VALUES = {
    "TEXT": st.text(st.characters(exclude_categories=["Cs"])),
    "INTEGER": integers(32),
    "SMALLINT": integers(16),
    "BIGINT": integers(64),
    "DOUBLE PRECISION": st.floats(allow_nan=False),
    "BOOLEAN": st.booleans(),
    "BYTEA": st.binary(),
}


@pytest.mark.parametrize("name", ARRAYS)
@given(data=st.data())
def test_an_array_is_read_as_it_was_sent(name: str, data: st.DataObject):
    one = st.none() | VALUES[name]
    values = data.draw(st.lists(one) | st.builds(lambda value, count: [value] * count, one, st.integers(1, 5)))
    array = ARRAYS[name](values)
    transformer = Transformer()
    [sent] = transformer.dump_sequence([array], [PyFormat.BINARY])
    assert transformer.types == (array.oid,)
    assert sent is not None
    assert transformer.get_loader(array.oid, Format.BINARY).load(sent) == values
    with_type = psycopg.adapters.types[array.oid_of_values]
    assert with_type.array_oid == array.oid


@pytest.mark.parametrize("values", [[2**31], [1, 2**31], [None, -(2**31) - 1]])
def test_a_number_out_of_range_is_refused_as_the_driver_refuses_values(values: list[int | None]):
    array: Array = ARRAYS["INTEGER"](values)
    with pytest.raises(connections.errors.DataError):
        Transformer().dump_sequence([array], [PyFormat.BINARY])
