"""Which jobs a page shows, in which order: a value that is the query of its address."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Self

from jobledger_client import JobFilterFields, JobOrder, JobState

DEFAULT_SIZE: Final = 50
MAX_SIZE: Final = 200
_SEPARATOR: Final = ","
_LABEL: Final = re.compile(r"([A-Za-z0-9._/-]{1,63})=(.{0,255})")


class InvalidQueryError(ValueError):
    """A part of an address breaks its rule; the message is for people."""


@dataclass(frozen=True, slots=True)
class JobQuery:
    """The filter, the order and the page of a list of jobs."""

    search: str = ""
    states: tuple[JobState, ...] = ()
    kinds: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    error_code: str = ""
    owner: str = ""
    service_jobs: bool = False
    order: JobOrder = field(default=JobOrder.CREATE_TIME_DESC, metadata={"is_filter": False})
    after: str = field(default="", metadata={"is_filter": False})
    """The page token; empty for the first page."""

    @classmethod
    def of_address(cls, query: Mapping[str, str]) -> Self:
        """Return the query of an address. Raises InvalidQueryError."""
        return cls(
            search=query.get("search", "").strip(),
            states=tuple(_state(name) for name in _words(query.get("state", ""))),
            kinds=tuple(_words(query.get("kind", ""))),
            labels=tuple(_label(pair) for pair in _words(query.get("label", ""))),
            error_code=query.get("error", "").strip(),
            owner=query.get("owner", "").strip(),
            service_jobs=query.get("service", "") == "yes",
            order=_order(query.get("order", "")),
            after=query.get("after", ""),
        )

    def to_address(self) -> dict[str, str]:
        """Return the query of the address; defaults are left out."""
        return {
            "search": self.search,
            "state": _SEPARATOR.join(state.name for state in self.states),
            "kind": _SEPARATOR.join(self.kinds),
            "label": _SEPARATOR.join(f"{name}={value}" for name, value in self.labels),
            "error": self.error_code,
            "owner": self.owner,
            "service": "yes" if self.service_jobs else "",
            "order": "" if self.order == JobOrder.CREATE_TIME_DESC else self.order.name.lower(),
            "after": self.after,
        }

    def with_changes(self, **changes: Any) -> "JobQuery":  # noqa: ANN401 - values of fields
        """Return the first page of a query that differs in these fields."""
        return replace(self, **{"after": "", **changes})

    @property
    def filter(self) -> "JobQuery":
        """The query with the filter alone: equal filters share a watch."""
        return JobQuery(**{field.name: getattr(self, field.name) for field in _FILTER_FIELDS})

    @property
    def has_condition(self) -> bool:
        """Whether the query has a filter, which the server requires for a change of all matching jobs."""
        return bool(self.search or self.states or self.kinds or self.labels or self.error_code)

    def fields(self) -> JobFilterFields:
        """Return the filter for the SDK."""
        filled: JobFilterFields = {
            "search": self.search,
            "states": self.states,
            "kinds": self.kinds,
            "labels": dict(self.labels),
            "error_code": self.error_code,
            "owner": self.owner,
            "include_service_jobs": self.service_jobs,
        }
        return filled


_FILTER_FIELDS: Final = [field for field in fields(JobQuery) if field.metadata.get("is_filter", True)]


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(_SEPARATOR) if word.strip()]


def _state(name: str) -> JobState:
    try:
        return JobState[name.upper()]
    except KeyError:
        raise InvalidQueryError(f"state must be one of {', '.join(JobState.__members__)}; got {name!r}") from None


def _order(name: str) -> JobOrder:
    try:
        return JobOrder[name.upper()] if name else JobOrder.CREATE_TIME_DESC
    except KeyError:
        raise InvalidQueryError(f"order must be one of {', '.join(JobOrder.__members__)}; got {name!r}") from None


def _label(pair: str) -> tuple[str, str]:
    match = _LABEL.fullmatch(pair)
    if match is None:
        raise InvalidQueryError(f"label must be NAME=VALUE, such as team=search; got {pair!r}")
    return match[1], match[2]
