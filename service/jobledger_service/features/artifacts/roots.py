"""The roots of the settings, below which artifacts may be deleted."""

from jobledger_service.settings import InvalidSettingError, Settings

from .objects import NoDriverError, check_driver
from .rules import InvalidRootError, Roots, parse_root


def roots_of(settings: Settings) -> Roots:
    """Return the roots under which artifacts may be deleted.

    Raises InvalidSettingError for an invalid root or one without a driver, and, with keys, for one that owners share.
    """
    try:
        roots = Roots([parse_root(text) for text in settings.artifact_roots.split()])
        for root in roots.all:
            check_driver(root)
        if settings.auth == "keys" and not settings.artifact_roots_shared_by_all_owners:
            roots.check_owned()
    except (InvalidRootError, NoDriverError) as error:
        raise InvalidSettingError(f"--artifact-roots: {error}") from None
    return roots
