"""API keys in the database: each change of one has a number, without a gap, in the order of the commits."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, func, insert, literal, or_, select, tuple_, update

from jobledger_service.core.database.engines import Database
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.refusals.access_errors import TooManyApiKeys
from jobledger_service.transport.identity import Role

from .keyring import KeyChanges
from .rules import ApiKey
from .tables import api_keys

KEY_COLUMNS = [column for column in api_keys.c if column.name != "change"]
Decide = Callable[[ApiKey | None], Sequence[ApiKey]]
"""The decision about a key: the rows to write. It may raise a Refusal, and then nothing is written."""
Place = tuple[int, str]
"""A key's place in lists: its creation and key_id."""
MAX_LOOK: Final = 20_000
"""The number of keys that a page looks at."""


class SqlKeyStore:
    """The store of keys. Every method is one transaction, and raises StoreUnavailable."""

    def __init__(self, database: Database, max_look: int = MAX_LOOK) -> None:
        self._database = database
        self._max_look = max_look

    def write(
        self, decide: Decide, key_id: str = "", request_key: str | None = None, *, max_keys: int | None = None
    ) -> Sequence[ApiKey]:
        """Decide about a key, None for a new one, as the only writer of keys; write and return the outcome.

        The key has this key_id, or was created by the request with this key. Raises TooManyApiKeys for a new key of an
        owner that has `max_keys`.
        """
        with self._database.write() as connection:
            self._database.dialect.lock(connection, "keys")
            named = or_(api_keys.c.key_id == key_id, api_keys.c.request_key == literal(request_key))
            row = connection.execute(select(*KEY_COLUMNS).where(named)).first()
            old = _key_of(row) if row else None
            written = decide(old)
            for key in written:
                is_new = old is None or key.key_id != old.key_id
                if is_new and max_keys is not None:
                    _check_room(connection, key.owner, max_keys)
                if key != old:
                    _save(connection, key, is_new=is_new)
            return written

    def list_keys(
        self, owner: str, now: Micros, after: Place | None, limit: int, *, show_ended: bool
    ) -> tuple[list[ApiKey], Place | None]:
        """Return keys after a place, oldest first, and the last place that was looked at, None after the last key.

        They are those of an owner, of all when it is empty. A page looks at no more than MAX_LOOK keys.
        """
        place = (api_keys.c.create_time, api_keys.c.key_id)
        begin = [tuple_(*place) > tuple_(*after)] if after else []
        in_order = select(*KEY_COLUMNS).where(*begin).order_by(*place)
        if owner:
            in_order = in_order.where(api_keys.c.owner == owner)
        page = in_order.limit(limit + 1)
        if not show_ended:
            lives = api_keys.c.expire_time.is_(None) | (api_keys.c.expire_time > now)
            page = page.where(api_keys.c.revoke_time.is_(None), lives)
        with self._database.read() as connection:
            last = connection.execute(in_order.with_only_columns(*place).offset(self._max_look - 1).limit(1)).first()
            if last is not None:
                page = page.where(tuple_(*place) <= tuple_(*last))
            keys = [_key_of(row) for row in connection.execute(page)]
        if len(keys) > limit:
            del keys[limit:]
            return keys, (keys[-1].create_time, keys[-1].key_id)
        return keys, None if last is None else (last.create_time, last.key_id)

    def changes(self, since: int) -> KeyChanges:
        """Return the keys created or changed from this change on, each with the number of its last change."""
        changed = select(*KEY_COLUMNS, api_keys.c.change).where(api_keys.c.change >= since).order_by(api_keys.c.change)
        with self._database.read() as connection:
            return [(row.change, _key_of(row[:-1])) for row in connection.execute(changed)]

    def record_last_used(self, used: dict[str, int]) -> None:
        """Record when keys were last used."""
        later = (
            update(api_keys)
            .where(api_keys.c.key_id == bindparam("of"), func.coalesce(api_keys.c.last_used_time, 0) < bindparam("at"))
            .values(last_used_time=bindparam("at"))
        )
        with self._database.write() as connection:
            connection.execute(later, [{"of": key_id, "at": used[key_id]} for key_id in sorted(used)])

    def trim(self, before: int, limit: int) -> int:
        """Delete at most `limit` API keys that ended before a time; return their number.

        The key that changed last stays, so that numbers of changes are not given twice.
        """
        ended = or_(api_keys.c.revoke_time < before, api_keys.c.expire_time < before)
        newest = select(func.max(api_keys.c.change)).scalar_subquery()
        gone = select(api_keys.c.key_id).where(ended, api_keys.c.change < newest).limit(limit)
        with self._database.write() as connection:
            if not self._database.dialect.try_lock(connection, "keys"):
                return 0
            return connection.execute(delete(api_keys).where(api_keys.c.key_id.in_(gone))).rowcount


def _check_room(connection: Connection, owner: str, max_keys: int) -> None:
    of_owner = select(func.count()).select_from(api_keys).where(api_keys.c.owner == owner)
    if connection.execute(of_owner).scalar_one() >= max_keys:
        raise TooManyApiKeys(max_keys)


def _save(connection: Connection, key: ApiKey, *, is_new: bool) -> None:
    # this transaction is alone until its commit, so that numbers have no gap and appear in order
    change = select(func.coalesce(func.max(api_keys.c.change), 0) + 1).scalar_subquery()
    if is_new:
        row = asdict(key) | {"roles": " ".join(sorted(key.roles)), "served_owners": " ".join(key.served_owners)}
        connection.execute(insert(api_keys).values(**row, change=change))
    else:
        ends = {"expire_time": key.expire_time, "revoke_time": key.revoke_time}
        connection.execute(update(api_keys).where(api_keys.c.key_id == key.key_id).values(**ends, change=change))


def _key_of(row: Sequence[Any]) -> ApiKey:
    key_id, owner, name, roles, *rest, served_owners, all_owners = row
    key = ApiKey(key_id, owner, name, frozenset(map(Role, roles.split())), *rest)
    return replace(key, served_owners=tuple(served_owners.split()), all_owners=all_owners)
