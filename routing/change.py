"""What crosses the border to and from Salesforce, in our words."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from routing.lane import Lane

#: The change type of a record that was asked for by its id and is not there.
MISSING = "MISSING"


@dataclass(frozen=True, slots=True)
class Change:
    """One changed record, as the stream told it; a merged event becomes one Change a record.

    `body` and `changed` use the field names of REST (`City`, not `Address.City`). In an UPDATE the body holds only
    the changed fields, None for those that were emptied (`nulled`).
    """

    event_id: str
    record_id: str
    change_type: str  # CREATE, UPDATE, DELETE, UNDELETE, GAP_*, SNAPSHOT and MISSING (read by REST)
    replay_id: bytes
    committed_at: datetime
    origin: str = ""
    commit_user: str = ""
    commit_number: int = 0
    sequence_number: int = 0
    changed: tuple[str, ...] = ()
    nulled: tuple[str, ...] = ()
    body: Mapping[str, object] = field(default_factory=dict)
    id: int = 0  # the ledger's event id, once stored
    lane: Lane = Lane.LIVE

    @property
    def by_rest(self) -> bool:
        """Whether this is the whole record as REST showed it, and no event of the stream."""
        return not self.replay_id


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An event that could not be decoded: kept raw, so that it can be replayed after a mend."""

    event_id: str
    replay_id: bytes
    schema_id: str
    payload: bytes
    reason: str  # one sentence with the fix


@dataclass(frozen=True, slots=True)
class WriteBack:
    """What Salesforce must show for one lead; absolute values and a version, so that repeating it changes nothing."""

    lead_id: int
    salesforce_id: str
    version: int
    state: str
    attempt: int
    reason: str | None = None
    member_key: str | None = None
    member_salesforce_id: str | None = None  # 001... goes to the partner lookup, 005... to the owner
    distance_m: float | None = None
    ring_m: float | None = None
    policy_version: int | None = None
    offered_at: datetime | None = None  # this and what follows: of the last offer
    expires_at: datetime | None = None
    answered_at: datetime | None = None  # when its member accepted or rejected it
    accepted_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: str | None = None  # its state
    offer_reason: str | None = None
    offers: int = 0  # made so far


@dataclass(frozen=True, slots=True)
class OfferRecord:
    """What Salesforce must show for one offer, in a record of its own; absolute values and a version, as above."""

    offer_id: UUID
    lead_id: int
    salesforce_id: str  # of its lead
    version: int
    state: str
    reason: str | None
    kind: str
    attempt: int
    member_key: str
    member_salesforce_id: str | None
    distance_m: float
    ring_m: float
    policy_version: int | None
    offered_at: datetime
    expires_at: datetime
    answered_at: datetime | None
    accepted_at: datetime | None
    ended_at: datetime | None


class Outcome(StrEnum):
    """What a write to Salesforce came to, by next action."""

    DONE = "done"
    RETRY = "retry"  # this record alone, later
    PARK = "park"  # a person must look
    GONE = "gone"  # the record was deleted or converted: withdraw the lead


@dataclass(frozen=True, slots=True)
class Written:
    """The result for one record of a write."""

    lead_id: int
    outcome: Outcome
    code: str = ""  # Salesforce's error code
    message: str = ""
    tries: int = 0  # before it is parked; 0: as many as the outbox gives


@dataclass(frozen=True, slots=True)
class Delivery:
    """One leased outbox row."""

    outbox_id: int
    token: UUID
    attempts: int
    write: WriteBack


@dataclass(frozen=True, slots=True)
class OfferDelivery:
    """One leased outbox row of an offer."""

    outbox_id: int
    token: UUID
    attempts: int
    record: OfferRecord


@dataclass(frozen=True, slots=True)
class Free:
    """One leased row that asks the turnstile to free an ended offer's place, or to hold that of an open one."""

    outbox_id: int
    token: UUID
    offer_id: UUID
    member_id: int
    market: str
    lead_id: int
    holds: bool = False  # the offer is open, and was not made by the turnstile
    counted: bool = False  # in limits that count only what is kept
    units: int = 1  # of capacity
