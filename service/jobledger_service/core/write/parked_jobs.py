"""Jobs that wait for a slot, in the order in which they get one."""

from typing import Any, Final

from sqlalchemy import Select, select

from jobledger_service.core.database.tables import jobs, parked

BY_URGENCY: Final[Select[Any]] = (
    select(-jobs.c.priority, jobs.c.create_time, jobs.c.job_key)
    .where(parked)
    .order_by(jobs.c.priority.desc(), jobs.c.create_time, jobs.c.job_key)
)
"""The most urgent first, then the oldest; each row sorts as it does, and ends with the job's key."""
