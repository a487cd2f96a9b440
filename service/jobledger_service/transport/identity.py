"""The callers of calls without an API key."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Literal

from msgspec import Struct as MsgStruct

DEFAULT_OWNER: Final = "default"


class Role(StrEnum):
    """The role of a key."""

    CALLER = "CALLER"
    """May call JobService, WebhookService and the operations."""
    WORKER = "WORKER"
    """May call WorkerService."""
    ADMIN = "ADMIN"
    """May call everything, and name any owner."""
    OWNER_ADMIN = "OWNER_ADMIN"
    """May do what callers and workers may, and administrate its owner."""


ANY_ROLE: Final = "ANY"
"""The role of a method that a key with any role may call."""
NeededRole = Role | Literal["ANY"]
_ABOVE: Final[Mapping[Role, frozenset[Role]]] = {
    Role.CALLER: frozenset({Role.OWNER_ADMIN, Role.ADMIN}),
    Role.WORKER: frozenset({Role.OWNER_ADMIN, Role.ADMIN}),
    Role.OWNER_ADMIN: frozenset({Role.ADMIN}),
    Role.ADMIN: frozenset(),
}
"""The roles that have another role, too."""


class Caller(MsgStruct, frozen=True):
    """The caller: the tenant, the name for the audit trail, and the key; None on a server without keys."""

    owner: str
    name: str
    key_id: str = ""
    roles: frozenset[Role] = frozenset()
    served_owners: tuple[str, ...] = ()
    """The tenants whose chunks a worker may hold, sorted; its own when empty."""
    all_owners: bool = False
    """Whether a worker may hold the chunks of all tenants."""

    def may(self, role: NeededRole) -> bool:
        """Whether the caller has a role, or one above it."""
        return role == ANY_ROLE or role in self.roles or not _ABOVE[role].isdisjoint(self.roles)


DEFAULT_CALLER: Final = Caller(owner=DEFAULT_OWNER, name="caller", roles=frozenset({Role.ADMIN}))
"""Every caller of a server without keys."""
PUBLIC_CALLER: Final = Caller(owner="", name="")
"""The caller of a method without a key: it may do nothing else."""
