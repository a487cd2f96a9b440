"""What to change of one job or of many, and the fields of a request for it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from jobledger_client import _requests as requests
from jobledger_client import _values as values


@dataclass(frozen=True, slots=True, kw_only=True)
class JobChanges:
    """The changes of jobs: the fields that are not None.

    `labels` replace all labels; `set_labels` and `remove_labels` change these and keep the others. An empty
    `display_name` removes it; `keep_forever` removes the expiry. A `schedule_time`, a time or a timedelta from now, can
    change until a chunk is claimed; `start_now` removes it, and the job may begin at once.

    A `retry_policy` replaces the whole policy, at once; `max_attempts` is short for `RetryPolicy(max_attempts=…)`. A
    `run_timeout` counts from the start of the present run. An `attempt_timeout` is for attempts that are claimed from
    now on. `no_run_timeout` and `no_attempt_timeout` remove the limits.
    """

    priority: int | None = None
    display_name: str | None = None
    labels: Mapping[str, str] | None = None
    set_labels: Mapping[str, str] | None = None
    remove_labels: Iterable[str] = ()
    expire_time: values.TimestampLike | timedelta | None = None
    keep_forever: bool = False
    schedule_time: values.TimestampLike | timedelta | None = None
    start_now: bool = False
    max_attempts: int | None = None
    retry_policy: requests.RetryPolicyLike | None = None
    run_timeout: values.DurationLike | None = None
    no_run_timeout: bool = False
    attempt_timeout: values.DurationLike | None = None
    no_attempt_timeout: bool = False

    def fields(self) -> dict[str, Any]:
        """Return the fields of a request, with the mask that names them. Raises ValueError for two that exclude."""
        single = [*(self.set_labels or ()), *requests.names("remove_labels", self.remove_labels)]
        for one, other, together in (
            ("expire_time", "keep_forever", self.keep_forever and self.expire_time is not None),
            ("schedule_time", "start_now", self.start_now and self.schedule_time is not None),
            ("run_timeout", "no_run_timeout", self.no_run_timeout and self.run_timeout is not None),
            (
                "attempt_timeout",
                "no_attempt_timeout",
                self.no_attempt_timeout and self.attempt_timeout is not None,
            ),
            ("labels", "set_labels and remove_labels", bool(single) and self.labels is not None),
        ):
            if together:
                raise ValueError(f"{one} and {other} exclude each other; pass one of them")
        if len(set(single)) < len(single):
            raise ValueError("a label is either in set_labels or in remove_labels, once")
        fields = requests.changes(
            priority=self.priority,
            display_name=self.display_name,
            labels=self.labels,
            expire_time=values.future_time(self.expire_time),
            schedule_time=values.future_time(self.schedule_time),
            retry_policy=requests.retry_policy(self.retry_policy, self.max_attempts),
            run_timeout=values.duration(self.run_timeout),
            attempt_timeout=values.duration(self.attempt_timeout),
        )
        paths = fields["update_mask"].paths
        paths.extend(f"labels.{name}" for name in single)
        # without a value: none from now on
        paths.extend(["expire_time"] * self.keep_forever + ["schedule_time"] * self.start_now)
        paths.extend(["run_timeout"] * self.no_run_timeout + ["attempt_timeout"] * self.no_attempt_timeout)
        return fields | ({"labels": self.set_labels} if self.set_labels else {})
