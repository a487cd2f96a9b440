"""The callers of calls without an API key."""

from enum import StrEnum
from typing import Final

from msgspec import Struct as MsgStruct

DEFAULT_OWNER: Final = "default"


class Role(StrEnum):
    """The role of a key."""

    CALLER = "CALLER"
    """May call JobService, WebhookService and the operations."""
    WORKER = "WORKER"
    """May call WorkerService."""
    ADMIN = "ADMIN"
    """May call everything."""


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

    def may(self, role: Role) -> bool:
        """Whether the caller has a role; an admin has all of them."""
        return role in self.roles or Role.ADMIN in self.roles


DEFAULT_CALLER: Final = Caller(owner=DEFAULT_OWNER, name="caller", roles=frozenset({Role.ADMIN}))
"""Every caller of a server without keys."""
PUBLIC_CALLER: Final = Caller(owner="", name="")
"""The caller of a method without a key: it may do nothing else."""
