"""The owners of a request: the caller's own, any with an admin's key, and those that a worker's key serves."""

from typing import Any

from jobledger_service.core.model.owners import Owners
from jobledger_service.core.read.readers import OPERATORS
from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.refusals import RoleMissing

from .checks import Checks


def owner_of(checks: Checks, request: Any, caller: Caller) -> str:  # noqa: ANN401  any with an owner, or with a filter
    """Return the owner that a request is about: the one that it, or its filter, names, or else the caller's own.

    Raises RoleMissing when the request names another owner, or all, and the caller is no admin, whatever the name is.
    """
    message, place = (request, "") if hasattr(request, "owner") else (request.filter, "filter.")
    of_all = getattr(message, "all_owners", False)
    if not of_all and message.owner in ("", caller.owner):
        return caller.owner
    if not caller.may(Role.ADMIN):
        field = f"{place}all_owners" if of_all else f"{place}owner"
        raise RoleMissing.of_others(request.DESCRIPTOR.name.removesuffix("Request"), field, caller.owner)
    if of_all and message.owner:
        checks.fault(f"{place}all_owners", "must be false with an owner")
    elif message.owner:
        checks.owner(f"{place}owner", message.owner)
    return message.owner or caller.owner


def read_owner(request: Any, caller: Caller) -> str:  # noqa: ANN401  any with an owner of its own
    """Return the owner that a request is about; raises InvalidField, RoleMissing."""
    if request.owner in ("", caller.owner):
        return caller.owner
    with Checks() as checks:
        return owner_of(checks, request, caller)


def owner_or_all(request: Any, caller: Caller) -> str:  # noqa: ANN401  any with an owner of its own
    """Return the owner that a request of an admin is about, empty for all; an owner's admin has only its own.

    Raises InvalidField, RoleMissing.
    """
    return read_owner(request, caller) if request.owner or not caller.may(Role.ADMIN) else ""


def reading_owner(caller: Caller) -> str:
    """Return in whose turn a read of administration is done: the operators' or the owner's."""
    return OPERATORS if caller.may(Role.ADMIN) else caller.owner


def served_by(caller: Caller) -> Owners | None:
    """Return the owners whose chunks a caller may hold; None for its own."""
    if caller.all_owners:
        return Owners(all=True)
    return Owners(frozenset(caller.served_owners)) if caller.served_owners else None
