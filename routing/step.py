"""A step of a lead's way as it is shown to others: what happened, when, since when, and by which task."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Step:
    """One entry of a lead's timeline, with the time of the entry before it; holds ids and numbers only."""

    id: int
    lead_id: int
    since: datetime  # the step before; of the first: when Salesforce committed the event
    at: datetime
    what: str
    is_first: bool = False
    actor: str = "fairturn"
    task_id: str | None = None
    policy_version: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
