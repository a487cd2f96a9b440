"""The owners of a request: the caller's own, any with an admin's key, and those that a worker's key serves."""

from jobledger_service.core.model.owners import Owners
from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.refusals import RoleMissing

from .checks import Checks


def owner_of(checks: Checks, field: str, given: str, caller: Caller, method: str) -> str:
    """Return the owner named in a field, the caller's own for none; raises RoleMissing."""
    if not given or given == caller.owner:
        return caller.owner
    if not caller.may(Role.ADMIN):
        raise RoleMissing.of_others(method, field, caller.owner)
    checks.owner(field, given)
    return given


def served_by(caller: Caller) -> Owners | None:
    """Return the owners whose chunks a caller may hold; None for its own."""
    if caller.all_owners:
        return Owners(all=True)
    return Owners(frozenset(caller.served_owners)) if caller.served_owners else None
