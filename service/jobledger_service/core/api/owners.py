"""The owner of a request: the caller's own, or any owner with an admin's key."""

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
