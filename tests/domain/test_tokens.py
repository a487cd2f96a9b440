"""Whatever bytes come as a token or cursor, they are read as what this ledger gave, or refused by name."""

import base64
import struct
from contextlib import suppress
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobledger_service.core.cursor import Cursors
from jobledger_service.core.database.history import History
from jobledger_service.core.model.history.epoch import Epoch
from jobledger_service.core.model.history.terms import Point, Terms
from jobledger_service.core.model.leases import Lease
from jobledger_service.core.model.refusals.errors import ForeignCursor, HistoryLost, InvalidField, PageTokenInvalid
from jobledger_service.core.read.paging import PageTokens

NO_TERMS = Terms([(0, 0)])
EPOCH = Epoch(UUID(int=1), b"s" * 32)
RESTORED = [Epoch(UUID(int=2), EPOCH.secret), Epoch(EPOCH.id, b"t" * 32)]
LEASES = st.builds(
    Lease,
    job_key=st.text(st.characters(codec="utf-8"), max_size=200),
    uid=st.binary(min_size=16, max_size=16),
    index=st.integers(0, 2**32 - 1),
    fence=st.integers(0, 2**32 - 1),
    claim_time=st.integers(0, 2**63 - 1),
)
VALUES = st.lists(st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(codec="utf-8"), max_size=50), max_size=6)
BYTES = st.binary(max_size=200).map(lambda raw: base64.urlsafe_b64encode(raw).decode().rstrip("="))
ANYTHING = st.text(max_size=200) | BYTES | st.sampled_from(["[" * 100_000, "\ud800", "A" * 1_000_000])


@st.composite
def mutated(draw: st.DrawFn, token: str) -> str:
    """Return a token with something cut, put in, or changed."""
    begin = draw(st.integers(0, len(token)))
    end = draw(st.integers(begin, min(len(token), begin + 8)))
    return token[:begin] + draw(st.text("ABab01-_=+/ \x00é", max_size=8)) + token[end:]


def tokens(epoch: Epoch) -> PageTokens:
    async def look() -> None:
        raise AssertionError("a token of an empty history is behind no ledger")

    return PageTokens(epoch, History(""), look)


def parsed(epoch: Epoch, token: str, mark: str, place: type[tuple[object, ...]]) -> tuple[object, ...] | None:
    read = tokens(epoch).read(token, mark, place, "page_token")
    return None if read is None else read[1]


def names_nothing(token: str, epoch: Epoch = EPOCH) -> bool:
    with suppress(ValueError):
        return Lease.parse(token, epoch) is None
    return True


@given(LEASES)
def test_a_lease_is_named_by_its_token_in_its_epoch_alone(lease: Lease):
    token = lease.token(EPOCH)
    assert Lease.parse(token, EPOCH) == lease
    assert [Lease.parse(token, restored) for restored in RESTORED] == [None, None]


@given(LEASES, st.data())
def test_a_changed_lease_token_names_nothing(lease: Lease, data: st.DataObject):
    token = lease.token(EPOCH)
    changed = data.draw(mutated(token))
    assert changed == token or names_nothing(changed)


@given(ANYTHING)
def test_no_lease_is_named_by_chance(token: str):
    assert names_nothing(token)


@given(VALUES)
def test_a_page_token_is_read_in_its_epoch_alone(values: list[int | str]):
    token, place = tokens(EPOCH).encode("mark", *values), tuple[tuple(map(type, values))]
    assert parsed(EPOCH, token, "mark", place) == tuple(values)
    for epoch, mark in [(EPOCH, "other"), *((restored, "mark") for restored in RESTORED)]:
        with pytest.raises(PageTokenInvalid):
            parsed(epoch, token, mark, place)


@given(VALUES, st.data())
def test_a_changed_page_token_is_refused(values: list[int | str], data: st.DataObject):
    token, place = tokens(EPOCH).encode("mark", *values), tuple[tuple(map(type, values))]
    changed = data.draw(mutated(token))
    if changed not in {token, ""}:
        with pytest.raises(PageTokenInvalid):
            parsed(EPOCH, changed, "mark", place)


@given(ANYTHING.filter(bool))
def test_no_page_is_named_by_chance(token: str):
    with pytest.raises(PageTokenInvalid):
        parsed(EPOCH, token, "mark", tuple[int])


@given(LEASES)
def test_a_token_of_one_purpose_is_invalid_for_another(lease: Lease):
    with pytest.raises(PageTokenInvalid):
        parsed(EPOCH, lease.token(EPOCH), "mark", tuple[int])
    assert names_nothing(tokens(EPOCH).encode("mark", lease.index))


@given(st.binary(max_size=40) | st.binary(min_size=33, max_size=33).map(lambda raw: b"\x03" + raw[1:]), st.booleans())
def test_a_cursor_is_of_this_epoch_or_refused(raw: bytes, ours: bool):
    raw = raw[:1] + EPOCH.id.bytes + raw[17:] if ours else raw
    try:
        point = Cursors(EPOCH.id, lambda: NO_TERMS).parse(raw)
    except (InvalidField, ForeignCursor):
        return
    assert raw[:1] == b"\x01" or Cursors(EPOCH.id, lambda: NO_TERMS).encode_point(point) == raw
    assert raw[1:17] == EPOCH.id.bytes
    assert point.position >= 0
    assert point.term >= 0


def test_a_cursor_from_before_there_were_terms_is_of_term_0():
    raw = b"\x01" + EPOCH.id.bytes + struct.pack(">q", 7)
    assert Cursors(EPOCH.id, lambda: NO_TERMS).parse(raw) == Point(7, 0)


@pytest.mark.guarantee("3d.2")
@pytest.mark.parametrize("position", [6, 7, 9])
def test_a_cursor_is_lost_where_another_term_has_its_position_or_none_has(position: int):
    lost = Cursors(EPOCH.id, lambda: Terms([(0, 0), (6, 100)]))
    promoted = Cursors(EPOCH.id, lambda: Terms([(0, 0), (6, 200)]))
    point = promoted.parse(lost.encode(position))
    lost.check(point, end=9)
    with pytest.raises(HistoryLost):
        promoted.check(point, end=9)
    with pytest.raises(HistoryLost):
        lost.check(point, end=position - 1)
    promoted.check(promoted.parse(lost.encode(5)), end=9)
