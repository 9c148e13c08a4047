"""The ledger's tables, by noun. What is impossible is refused here, by constraint, not by care."""

from storage.postgres.tables import history, identity, notify, rotation, shadow
from storage.postgres.tables.base import NOW, metadata
from storage.postgres.tables.decisions import decisions, quota_recounted, quota_recounts, quota_uses
from storage.postgres.tables.leads import LEAD_STATES, geocodes, lead_contacts, leads, runs
from storage.postgres.tables.members import members, places
from storage.postgres.tables.offers import OPEN_OFFER, chances, notices, offers
from storage.postgres.tables.outbound import api_calls, edits, gates, outbox, replays, watches
from storage.postgres.tables.policy import contents, markets, policies, policy_approvals, pools, tiers
from storage.postgres.tables.record import audit, heartbeats, invariants, shown, timeline
from storage.postgres.tables.stream import events, parked, positions, scans
from storage.postgres.tables.turns import corrections, standing_marks, standings, turns_owed

__all__ = [
    "LEAD_STATES",
    "NOW",
    "OPEN_OFFER",
    "api_calls",
    "audit",
    "chances",
    "contents",
    "corrections",
    "decisions",
    "edits",
    "events",
    "gates",
    "geocodes",
    "heartbeats",
    "history",
    "identity",
    "invariants",
    "lead_contacts",
    "leads",
    "markets",
    "members",
    "metadata",
    "notices",
    "notify",
    "offers",
    "outbox",
    "parked",
    "places",
    "policies",
    "policy_approvals",
    "pools",
    "positions",
    "quota_recounted",
    "quota_recounts",
    "quota_uses",
    "replays",
    "rotation",
    "runs",
    "scans",
    "shadow",
    "shown",
    "standing_marks",
    "standings",
    "tiers",
    "timeline",
    "turns_owed",
    "watches",
]
