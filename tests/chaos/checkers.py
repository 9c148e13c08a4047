"""What must hold when all is over, read from the history, Postgres and the org alone."""

import json
import math
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

from storage.redis.turnstile import RedisTurnstile
from tests.chaos.armed import KILLER
from tests.chaos.history import History
from tests.chaos.ledger import LedgerView, Row
from tests.chaos.org import Org
from workers import house

MOST_OFFERS = 4
#: A batch that planned with the capacities of a moment ago may still commit for so long.
CHANGE_S = 20.0
EARTH_MILES = 3958.8
FIELDS = (
    *("Id", "LastName", "Fairturn_Source_Id__c", "Fairturn_Version__c", "Fairturn_Status__c", "Fairturn_Reason__c"),
    *("Fairturn_Partner_Key__c", "Fairturn_Attempt__c", "Fairturn_Accepted_At__c", "Fairturn_Ended_At__c"),
    *("Fairturn_Outcome__c", "Fairturn_Offer_Reason__c", "Fairturn_Offers__c"),
)
#: What a lead that the org has may be when all is at rest.
SETTLED = frozenset({"offered", "accepted", "done", "waiting", "review"})
#: Offers that end so use up one of the lead's reassignments, and those that were taken back for doing nothing.
COUNTS = frozenset({"rejected", "expired", "returned"})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that must never be."""

    invariant: str
    detail: str
    lead: int | None = None


@dataclass(slots=True)
class Evidence:
    """Everything the checkers look at, read once."""

    history: History
    ledger: LedgerView
    org: Org
    redis_url: str
    market: str = "main"
    leads: list[Row] = field(init=False)
    offers: list[Row] = field(init=False)
    members: dict[int, Row] = field(init=False)
    records: dict[str, dict[str, Any]] = field(init=False)
    changes: list[dict[str, Any]] = field(init=False)
    created: dict[str, str] = field(init=False)  # source id -> Salesforce id, as the org acknowledged
    attempted: set[str] = field(init=False)
    deleted: set[str] = field(init=False)  # source ids, acknowledged or not

    def __post_init__(self) -> None:
        self.leads, self.offers, self.members = self.ledger.leads(), self.ledger.offers(), self.ledger.members()
        rows = self.org.select(f"SELECT {', '.join(FIELDS)} FROM Lead")  # noqa: S608 - names of our own
        self.records = {row["Id"]: row for row in rows}
        self.changes = list(self._changes())
        told = list(self.history.lines("org"))
        self.created = {name: sf for line in told if line["what"] == "created" for name, sf in line["ids"].items()}
        self.attempted = {name for line in told if line["what"] == "create" for name in line["leads"]}
        self.deleted = {line["lead"] for line in told if line["what"].startswith("delete")}

    def _changes(self) -> Iterator[dict[str, Any]]:
        after = 0
        while True:
            page = self.org.admin("GET", "history", after=after, limit=20_000)["changes"]
            if not page:
                return
            yield from (change for change in page if change["object"] == "Lead")
            after = page[-1]["n"]

    def parked(self) -> set[str]:
        """Records that were set aside as a whole because they kill who reads them."""
        killers = {sf for sf, row in self.records.items() if row["LastName"] == KILLER}
        return killers & self.ledger.parked_events()


def totals(seen: Evidence) -> dict[str, int]:
    """In the words of Jepsen's checkers."""
    known = {row["salesforce_id"] for row in seen.leads if row["state"] != "new"} | seen.parked()
    mine = {row["Fairturn_Source_Id__c"]: sf for sf, row in seen.records.items()}
    unknown = seen.attempted - seen.created.keys()
    sources = _sources(seen)
    return {
        "attempted": len(seen.attempted),
        "acknowledged": len(seen.created),
        "lost": sum(sf not in known for sf in seen.created.values()),
        "recovered": sum(mine.get(name) in known for name in unknown if name in mine),
        "unexpected": len({row["salesforce_id"] for row in seen.leads} - {change["id"] for change in seen.changes}),
        "duplicated": sum(n - 1 for n in sources.values()),
        "deleted": len(seen.deleted),
        "offers": len(seen.offers),
    }


# --- one invariant each ---------------------------------------------------------------------------------------------


def nothing_is_lost(seen: Evidence) -> Iterator[Finding]:
    """Every lead the org has is settled in the ledger; every one it deleted is withdrawn."""
    by_record = {row["salesforce_id"]: row for row in seen.leads}
    parked = seen.parked()
    for record in sorted(seen.records.keys() | set(seen.created.values())):
        lead = by_record.get(record)
        there = record in seen.records
        if lead is None:
            if there and record not in parked:
                yield Finding("lost", f"{record} is not in the ledger")
        elif there and lead["state"] not in SETTLED:
            yield Finding("lost", f"{record} is in the org and {lead['state']} in the ledger", lead["id"])
        elif not there and lead["state"] != "withdrawn":
            yield Finding("kept", f"{record} was deleted and is {lead['state']} in the ledger", lead["id"])


def nothing_is_made_up(seen: Evidence) -> Iterator[Finding]:
    ever = {change["id"] for change in seen.changes}
    yield from (
        Finding("unexpected", f"{row['salesforce_id']} never was in the org", row["id"])
        for row in seen.leads
        if row["salesforce_id"] not in ever
    )
    sources = _sources(seen)
    yield from (
        Finding("duplicated", f"{row['source_id']} is in the ledger {sources[row['source_id']]} times", row["id"])
        for row in seen.leads
        if sources[row["source_id"]] > 1
    )
    yield from (
        Finding("nameless", f"{row['salesforce_id']} was read without its name, and is {row['state']}", row["id"])
        for row in seen.leads
        if row["source_id"] is None and row["state"] != "withdrawn"  # as when it was deleted before it was read
    )


def _sources(seen: Evidence) -> Counter[str]:
    """How often each lead of the clients is in the ledger."""
    return Counter(row["source_id"] for row in seen.leads if row["source_id"] is not None)


def one_offer_at_a_time(seen: Evidence) -> Iterator[Finding]:
    """A lead is held by one member at a time, never by the same twice, and by four who had their turn at most."""
    by_lead: dict[int, list[Row]] = defaultdict(list)
    for offer in seen.offers:
        by_lead[offer["lead_id"]].append(offer)
    for lead, offers in by_lead.items():
        offers.sort(key=lambda offer: offer["attempt"])
        members = [offer["member_id"] for offer in offers]
        if len(set(members)) < len(members):
            yield Finding("same_member_twice", f"members {members}", lead)
        if 1 + sum(_counts(offer) for offer in offers[:-1]) > MOST_OFFERS:
            yield Finding("too_many_offers", f"{len(offers)} offers", lead)
        if [offer["attempt"] for offer in offers] != list(range(1, len(offers) + 1)):
            yield Finding("attempts", f"attempts {[offer['attempt'] for offer in offers]}", lead)
        for before, after in pairwise(offers):
            if before["ended_at"] is None or before["ended_at"] > after["offered_at"]:
                yield Finding("two_open_offers", f"offer {after['attempt']} began before the last one ended", lead)


def _counts(offer: Row) -> bool:
    """Whether the end of this offer was one of the lead's moves; what was taken back otherwise was none."""
    return offer["state"] in COUNTS or (offer["state"], offer["reason"]) == ("withdrawn", "work_overdue")


def nobody_is_over_capacity(seen: Evidence) -> Iterator[Finding]:
    """At no instant did a member hold more than it had room for, by the capacities the run gave it."""
    allowed = _capacities(seen.history)
    keys = {member: row["key"] for member, row in seen.members.items()}
    moments: dict[int, list[tuple[datetime, int, int]]] = defaultdict(list)
    for offer in seen.offers:
        moments[offer["member_id"]].append((offer["offered_at"], 1, offer["lead_id"]))
        if offer["ended_at"]:
            moments[offer["member_id"]].append((offer["ended_at"], -1, offer["lead_id"]))
    for member, steps in moments.items():
        held = 0
        for at, step, lead in sorted(steps):
            held += step
            room = allowed(keys[member], at.timestamp())
            if step > 0 and held > room:
                yield Finding("over_capacity", f"member {keys[member]} held {held} of {room} at {at}", lead)


def _capacities(history: History) -> Callable[[str, float], int]:
    """The most that a member might hold at a moment: the capacity then, or just before."""
    steps: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for line in history.lines("config", "capacity"):
        for key, capacity in line["capacities"].items():
            steps[key].append((float(line["t"]), int(capacity)))

    def allowed(key: str, at: float) -> int:
        # A rise is noted when it is done, so it may have counted a little earlier than it says.
        near = [capacity for t, capacity in steps[key] if at - CHANGE_S <= t <= at + CHANGE_S]
        before = [capacity for t, capacity in steps[key] if t < at - CHANGE_S][-1:]
        return max([*before, *near], default=0)

    return allowed


def the_org_shows_the_ledger(seen: Evidence) -> Iterator[Finding]:
    """The lead's record tells its state, who has it or had it to its end, and what became of the last offer."""
    offers: dict[int, list[Row]] = defaultdict(list)
    for offer in seen.offers:
        offers[offer["lead_id"]].append(offer)
    for lead in seen.leads:
        record = seen.records.get(lead["salesforce_id"])
        if record is None:
            continue
        shown = [record[name] for name in SHOWN]
        shown[5:7] = [_instant(text) for text in shown[5:7]]
        wanted = [lead["version"], lead["state"], *_last_offer(seen, offers[lead["id"]])]
        if shown != wanted:
            yield Finding("org_differs", f"the org shows {shown}, the ledger says {wanted}", lead["id"])


SHOWN = (
    *("Fairturn_Version__c", "Fairturn_Status__c", "Fairturn_Partner_Key__c", "Fairturn_Outcome__c"),
    *("Fairturn_Offer_Reason__c", "Fairturn_Accepted_At__c", "Fairturn_Ended_At__c", "Fairturn_Offers__c"),
)


def _last_offer(seen: Evidence, offers: Sequence[Row]) -> list[Any]:
    """Who is shown, how the offer stands, why, when it was accepted and when it ended, and how many there were."""
    if not offers:
        return [None, None, None, None, None, 0]
    last = max(offers, key=lambda o: (o["ended_at"] is None, o["state"] in {"completed", "lost"}, o["attempt"]))
    holds = last["ended_at"] is None or last["state"] in {"completed", "lost"}
    times = [
        at and at.replace(microsecond=at.microsecond // 1000 * 1000) for at in (last["accepted_at"], last["ended_at"])
    ]
    return [
        seen.members[last["member_id"]]["key"] if holds else None,
        last["state"],
        last["reason"],
        *times,
        len(offers),
    ]


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text.replace("+0000", "+00:00")) if text else None


def versions_never_fall(seen: Evidence) -> Iterator[Finding]:
    ids = {row["salesforce_id"]: row["id"] for row in seen.leads}
    last: dict[str, float] = {}
    for change in seen.changes:
        version = change["values"].get("Fairturn_Version__c")
        if version is not None:
            if version < last.get(change["id"], 0):
                text = f"{change['id']}: version {version} after {last[change['id']]}"
                yield Finding("version_fell", text, ids.get(change["id"]))
            last[change["id"]] = version


def the_turnstile_agrees(seen: Evidence) -> Iterator[Finding]:
    turnstile = RedisTurnstile(seen.redis_url)
    counted = turnstile.open_counts(seen.market)
    turnstile.close()
    held = Counter(offer["member_id"] for offer in seen.offers if offer["ended_at"] is None)
    for member in sorted(counted.keys() | held.keys()):
        if counted.get(member, 0) != held[member]:
            text = f"member {member} holds {held[member]}, the turnstile counts {counted.get(member, 0)}"
            yield Finding("turnstile_differs", text)


def nobody_waits_beside_room(seen: Evidence) -> Iterator[Finding]:
    """No lead waits while a member well in reach, who never had it, has room."""
    held = Counter(offer["member_id"] for offer in seen.offers if offer["ended_at"] is None)
    room = {m: row for m, row in seen.members.items() if row["active"] and held[m] < (row["capacity"] or 0)}
    tried: dict[int, set[int]] = defaultdict(set)
    for offer in seen.offers:
        tried[offer["lead_id"]].add(offer["member_id"])
    for lead in seen.leads:
        if lead["state"] == "waiting" and lead["lat"] is not None:
            free = [m for m, row in room.items() if m not in tried[lead["id"]] and _miles(lead, row) < 49.5]
            if free:
                yield Finding("waits_beside_room", f"waits, and members {free[:5]} have room", lead["id"])


def _miles(one: Row, other: Row) -> float:
    """Over a sphere: half a mile off at fifty miles at worst."""
    a, b = math.radians(one["lat"]), math.radians(other["lat"])
    turn = math.radians(other["lon"] - one["lon"])
    cosine = math.sin(a) * math.sin(b) + math.cos(a) * math.cos(b) * math.cos(turn)
    return EARTH_MILES * math.acos(min(1.0, cosine))


def the_views_are_empty(seen: Evidence) -> Iterator[Finding]:
    for view, subject, detail in seen.ledger.breaches():
        number = subject.removeprefix("lead ")
        yield Finding(view, f"{subject} {detail}", int(number) if number.isdigit() else None)


def every_decision_is_made_again(seen: Evidence) -> Iterator[Finding]:
    """`fairturn verify`, in a process of its own."""
    ran = subprocess.run(
        [sys.executable, "-m", "workers.cli", "verify", "--json"],
        cwd=house.ROOT,
        env=os.environ | {"PYTHONPATH": str(house.ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        report = json.loads(ran.stdout)
    except ValueError:
        yield Finding("verify", f"it ended with {ran.returncode}: {ran.stderr[-500:]}")
        return
    seen.history.note("verify", "report", **{name: report[name] for name in ("decisions", "offers", "drifts", "worst")})
    for breach in report["breaches"]:
        yield Finding(f"verify.{breach['check']}", f"{breach['subject']} {breach['detail']}")


def only_poison_is_parked(seen: Evidence) -> Iterator[Finding]:
    """Nothing honest was given up."""
    for row in seen.ledger.rows("SELECT kind, ref, reason FROM parked WHERE resolved_at IS NULL AND kind <> 'message'"):
        if row["kind"] in {"lead", "outbox", "csv_member"}:
            yield Finding("parked", f"{row['kind']} {row['ref']}: {row['reason']}")


def killers_are_stopped(seen: Evidence) -> Iterator[Finding]:
    """Who kills its reader is read three times at most, and set aside."""
    deaths = Counter(line["record"] for line in seen.history.lines("failpoint", "killer"))
    yield from (
        Finding("killer", f"{record} killed {n} processes") for record, n in deaths.items() if n > 3 + _restarts(seen)
    )


def _restarts(seen: Evidence) -> int:
    """Deaths that cost no attempt: the database forgot the attempt with its crash."""
    return sum(1 for line in seen.history.lines("nemesis", "crash_postgres"))


Check = Callable[[Evidence], Iterator[Finding]]

CHECKS: Sequence[Check] = (
    nothing_is_lost,
    nothing_is_made_up,
    one_offer_at_a_time,
    nobody_is_over_capacity,
    the_org_shows_the_ledger,
    versions_never_fall,
    the_turnstile_agrees,
    nobody_waits_beside_room,
    the_views_are_empty,
    every_decision_is_made_again,
    only_poison_is_parked,
    killers_are_stopped,
)


def findings(seen: Evidence, checks: Sequence[Check] = CHECKS) -> dict[str, list[Finding]]:
    """What is wrong, by check; a check with nothing to say is there with an empty list."""
    return {check.__name__: _found(check, seen) for check in checks}


def _found(check: Check, seen: Evidence) -> list[Finding]:
    try:
        return list(check(seen))
    except Exception as exc:  # noqa: BLE001 - what cannot be checked does not hold, and the other checks go on
        return [Finding("unchecked", f"{type(exc).__name__}: {exc}")]


def counted(found: Mapping[str, Sequence[Finding]]) -> int:
    return sum(len(some) for some in found.values())
