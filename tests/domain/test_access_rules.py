"""API keys: when one has ended, whom it names, and which token is its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobledger_service.features.access.rules import (
    ID_BYTES,
    SECRET_BYTES,
    TOKEN,
    ApiKey,
    digest_of,
    token_of,
)
from jobledger_service.transport.identity import Role
from jobledger_service.transport.refusals import ApiKeyExpired, ApiKeyRevoked

NOW = 1_000
times = st.sampled_from((None, 0, NOW - 1, NOW, NOW + 1))
ids = st.binary(min_size=ID_BYTES, max_size=ID_BYTES).map(bytes.hex)
secrets = st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES)


def key(**fields: object) -> ApiKey:
    values = {"key_id": "0" * 12, "owner": "alice", "name": "ci", "roles": frozenset({Role.WORKER}), "digest": b"d"}
    return ApiKey(**values | {"create_time": 0} | fields)


@given(times, times)
def test_a_key_has_ended_exactly_when_it_is_refused_and_a_revocation_is_the_reason_that_counts(
    expire_time: int | None, revoke_time: int | None
):
    one = key(expire_time=expire_time, revoke_time=revoke_time)
    expired = expire_time is not None and expire_time <= NOW
    assert one.ended(NOW) == (expired or revoke_time is not None)
    if not one.ended(NOW):
        one.check(NOW)
        return
    with pytest.raises(ApiKeyExpired if revoke_time is None else ApiKeyRevoked) as caught:
        one.check(NOW)
    assert caught.value.metadata == {"key_id": one.key_id}


@given(ids, secrets, secrets)
def test_a_token_names_its_key_and_only_its_own_digest_is_the_keys(key_id: str, secret: bytes, other: bytes):
    token = token_of(key_id, secret)
    found = TOKEN.fullmatch(token)
    assert found is not None
    assert (found[1], bytes.fromhex(found[2])) == (key_id, secret)
    one = key(key_id=key_id, digest=digest_of(token))
    assert one.is_of(digest_of(token))
    assert one.is_of(digest_of(token_of(key_id, other))) == (secret == other)
    assert not one.is_of(digest_of(token)[:-1])


@pytest.mark.parametrize(
    "token", ["", "jl_", "jl_0123456789ab_", f"JL_{'0' * 12}_{'0' * 64}", f"jl_{'0' * 12}_{'0' * 65}"]
)
def test_what_has_not_the_form_of_a_token_is_invalid(token: str):
    assert TOKEN.fullmatch(token) is None


def test_a_caller_is_named_by_its_key_and_has_no_more_than_its_roles():
    caller = key(key_id="a" * 12).caller
    assert (caller.owner, caller.name, caller.key_id) == ("alice", f"ci/{'a' * 12}", "a" * 12)
    assert [role for role in Role if caller.may(role)] == [Role.WORKER]
    assert all(key(roles=frozenset({Role.ADMIN})).caller.may(role) for role in Role)


def test_a_key_that_is_printed_shows_no_digest():
    shown = repr(key(digest=b"never shown"))
    assert "alice" in shown
    assert "never shown" not in shown
