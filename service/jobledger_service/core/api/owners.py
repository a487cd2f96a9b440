"""Whose jobs a request is about: the caller's own, or with an admin's key those of an owner that it names."""

from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.refusals import RoleMissing

from .checks import Checks


def owner_of(checks: Checks, field: str, given: str, caller: Caller, method: str) -> str:
    """Return the owner that a request names in a field, the caller's own for none; raises RoleMissing."""
    if not given or given == caller.owner:
        return caller.owner
    if not caller.may(Role.ADMIN):
        raise RoleMissing.of_others(method, field, caller.owner)
    checks.owner(field, given)
    return given
