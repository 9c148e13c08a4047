"""A whole house for one test: real ledger, real turnstile, every verb; Salesforce and geocoders are stand-ins."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import uuid_utils.compat as uuid_utils

from config import policy as policy_file
from gateways.countries import alpha2
from routing.answering import Desk
from routing.change import Change, Outcome, WriteBack, Written
from routing.compare import Comparer, Seen
from routing.corrector import Corrector
from routing.dispatcher import Dispatcher
from routing.entry import Door, at_the_door
from routing.errors import GiveUp, TryLater
from routing.heeding import Heeder
from routing.holding import Holder
from routing.intake import Folded, Sheet, fold
from routing.journey import Journey
from routing.lane import Lane
from routing.lead import Address, Located, Point, Precision
from routing.outbound import Outbound
from routing.policy import Answering, Policy
from routing.sweeper import Sweeper
from routing.timekeeper import Openings, Timekeeper
from storage.postgres.answers import Answers
from storage.postgres.baskets import Baskets
from storage.postgres.chances import Chances
from storage.postgres.corrections import Corrections
from storage.postgres.edits import Edits
from storage.postgres.engine import connect, transaction
from storage.postgres.events import Events, Superseded
from storage.postgres.leads import Leads
from storage.postgres.ledger import RoutingLedger
from storage.postgres.members import MemberRow, Members
from storage.postgres.open_pool import OpenPool
from storage.postgres.outbox import Outbox
from storage.postgres.policies import Policies
from storage.postgres.policy_reader import NoPolicy
from storage.postgres.positions import Positions
from storage.postgres.reservations import Reservations
from storage.postgres.runs import Runs
from storage.postgres.scans import Scans
from storage.postgres.timers import Timers
from storage.postgres.truth import Truth
from storage.redis.audit import TurnstileAudit
from storage.redis.turnstile import RedisTurnstile

TOPIC = "/data/LeadChangeEvent"
MARKET = "main"
#: One degree of latitude, in miles.
DEGREE_MI = 69.0


def document(**pool: Any) -> dict[str, Any]:
    """A policy document: one pool for every country, gold of 10 and a default of 5."""
    installers = {
        "name": "installers",
        "market": MARKET,
        "rings": {"unit": "mi", "radii": [5, 15, 30, 50]},
        "answer_within": "4h",
        "poor_places": {"city": "centroid", "region": "review"},
    }
    return {
        "pools": [installers | pool],
        "tiers": [{"name": "gold", "weight": 1, "capacity": 10}],
        "default_tier": {"weight": 1, "capacity": 5},
    }


@dataclass
class Geography:
    """A geocoder that knows the cities it was told."""

    cities: dict[str, Located] = field(default_factory=dict)

    def locate_each(self, addresses: Sequence[Address]) -> list[Located | TryLater | GiveUp | None]:
        return [self._one(a.city) for a in addresses]

    def _one(self, name: str) -> Located | TryLater | GiveUp | None:
        if name == "POISON":
            return GiveUp("this address breaks the geocoder")
        return TryLater("over quota") if name == "BUSY" else self.cities.get(name)


def read(change: Change, known: Sheet | None) -> Folded:
    """Bodies in these tests use our own field names; `ours` in the origin marks an echo, `poison` breaks the reader."""
    if change.body.get("poison"):
        raise ValueError(change.body["poison"])
    by_us = change.origin in {"ours", "by us"}
    return fold(known, change, change.body, ours=change.origin == "ours", by_us=by_us, alpha2=alpha2)


@dataclass
class House:
    """The wiring of config, with doors for a test: what was announced is kept, and worked off by `work`."""

    database_url: str
    redis_url: str
    log: list[tuple[str, list[int]]] = field(default_factory=list)
    lanes: list[tuple[str, Lane, int]] = field(default_factory=list)
    wanted: list[str] = field(default_factory=list)
    written: list[WriteBack] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    records: dict[str, Change] = field(default_factory=dict)
    changed: list[list[Change]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    open: list[Seen] = field(default_factory=list)
    geography: Geography = field(default_factory=Geography)
    files: dict[str, bytes] = field(default_factory=dict)  # of the policy's tables and areas, by digest
    new_id: Callable[[], UUID] = uuid_utils.uuid7
    connections: int = 10
    epoch: int = -1  # of the stream's one reader, which `store` is

    def __post_init__(self) -> None:
        self.engine = connect(self.database_url, pool_size=self.connections)
        self.turnstile = RedisTurnstile(self.redis_url)
        self.ledger = RoutingLedger(self.engine, self.parse)
        self.dispatcher = Dispatcher(ledger=self.ledger, turnstile=self.turnstile, new_id=self.new_id)
        self.leads, self.members, self.outbox = Leads(self.engine), Members(self.engine), Outbox(self.engine)
        self.events = Events(self.engine)
        self.baskets = Baskets(self.engine)
        self.journey = Journey(
            leads=self.leads,
            runs=Runs(self.engine),
            dispatcher=self.dispatcher,
            geocoder=self.geography,
            read=at_the_door(read, self.door),
            fetch=self.read,
            answering=self.answering,
            announce=self._announce,
            nudge=self.wanted.append,
            report=self.errors.append,
        )
        self.answers = Answers(self.engine, self.answering)
        self.desk = Desk(self.answers, self._announce, self.wanted.append)
        self.corrections = Corrections(self.engine)
        self.corrector = Corrector(
            book=self.corrections,
            turnstile=self.turnstile,
            mend=self.dispatcher.mend,
            stand_alone=self.ledger.stand_alone,
        )
        self.outbound = Outbound(
            outbox=self.outbox,
            dispatcher=self.dispatcher,
            write=self._write,
            withdraw=self.leads.withdraw,
            nudge=self.wanted.append,
            correct=self.corrector.correct,
            hold=Holder(Truth(self.engine), TurnstileAudit(self.redis_url)).hold,
        )
        self.heeder = Heeder(Edits(self.engine), self.desk, self.wanted.append)
        self.timers = Timers(self.engine, self.answering)
        self.open_pool = OpenPool(self.engine, self.answering, self.new_id)
        self.timekeeper = Timekeeper(self.timers, self.open_pool, self._announce, self.wanted.append)
        self.openings = Openings(Chances(self.engine, self.answering), self.open_pool, self.wanted.append)
        self.sweeper = Sweeper(
            journey=self.journey,
            dispatcher=self.dispatcher,
            turnstile=self.turnstile,
            reservations=Reservations(self.engine),
            comparer=Comparer(scans=Scans(self.engine, TOPIC), org=lambda: self, journey=self.journey),
            markets=lambda: [MARKET],
            due=self.outbox.due,
            depth=lambda _lane: 0,
            nudge=self.wanted.append,
            corrector=self.corrector,
            timekeeper=self.timekeeper,
            edited=Edits(self.engine).waiting,
        )
        self._numbers = count(1)

    def _announce(self, task: str, ids: Sequence[int], lane: Lane = Lane.LIVE, /) -> None:
        self.log.append((task, list(ids)))
        self.lanes.append((task, lane, len(ids)))

    def door(self) -> Door:
        """What the policy wants at the door."""
        try:
            return Door.of(self.ledger.published())
        except NoPolicy:
            return Door()

    def answering(self) -> dict[str, Answering]:
        return {p.name: p.answering for p in self.ledger.published().pools}

    def close(self) -> None:
        self.engine.dispose()
        self.turnstile.close()

    def _write(self, writes: Sequence[WriteBack]) -> list[Written]:
        self.written += writes
        return [Written(w.lead_id, Outcome.DONE) for w in writes]

    # --- what Salesforce answers

    def changed_since(self, _at: datetime, _after: str = "") -> Iterable[list[Change]]:
        return iter(self.changed)

    def deleted_between(self, _start: datetime, _end: datetime) -> list[str]:
        return self.deleted

    def open_records(self, _after: str = "") -> tuple[list[Seen], bool]:
        return self.open, True

    def read(self, ids: Sequence[str]) -> list[Change]:
        return [self.records[i] for i in ids if i in self.records]

    # --- what the world does

    def parse(self, made: Mapping[str, Any], version: int) -> Policy:
        return policy_file.parse(made, version, contents=self.files.__getitem__)

    def publish(self, **pool: Any) -> int:
        return self.publish_document(document(**pool))

    def publish_document(self, made: dict[str, Any]) -> int:
        """Publish, and wake what waits, as the wiring does."""
        policy = self.parse(made, 0)
        pools = [(p.name, p.market, str(p.mode)) for p in policy.pools]
        tiers = list(policy.tiers.values())
        version = Policies(self.engine).publish(made, tiers, policy.default_tier, pools, actor="test")
        self.leads.wake()
        return version

    def member(self, key: str, lat: float = 40.0, lon: float = -75.0, **over: Any) -> int:
        row = MemberRow(key=key, name=key, market=MARKET, places=(Point(lat, lon),), **over)
        self.members.upsert([row], actor="test")
        found: int = self.value("SELECT id FROM members WHERE key = :key", key=key)
        return found

    def change(self, record: str, kind: str = "CREATE", *, number: int | None = None, **over: Any) -> Change:
        number = next(self._numbers) if number is None else number
        body = over.pop("body", {})
        at = over.pop("at", datetime.now(UTC))
        return Change(
            event_id=over.pop("event_id", f"event-{number}-{record}"),
            record_id=record,
            change_type=kind,
            replay_id=number.to_bytes(8, "big"),
            committed_at=at,
            commit_number=number,
            changed=tuple(body),
            body=body,
            **over,
        )

    def snapshot(self, record: str, **body: Any) -> Change:
        return Change(
            event_id=f"read-{record}-{next(self._numbers)}",
            record_id=record,
            change_type="SNAPSHOT",
            replay_id=b"",
            committed_at=datetime.now(UTC),
            body=body,
        )

    def store(self, changes: Iterable[Change]) -> list[int]:
        kept = list(changes)
        try:
            return self.events.store(TOPIC, kept, replay_id=b"1", epoch=self.epoch)
        except Superseded:  # nobody stood there yet, or somebody else did meanwhile
            with Positions(self.engine).stand(TOPIC) as position:
                assert position is not None
                self.epoch = position.epoch
            return self.events.store(TOPIC, kept, replay_id=b"1", epoch=self.epoch)

    def lead(self, record: str, lat: float | None = 40.0, lon: float | None = -75.0, **body: Any) -> int:
        """A lead created in Salesforce and read; not yet worked on."""
        at = body.pop("at", datetime.now(UTC))
        point = {} if lat is None else {"lat": lat, "lon": lon}
        fields = {"country": "US", "city": "Town", "postal_code": "19000"} | point | body
        self.journey.intake(self.store([self.change(record, body=fields, at=at)]))
        return self.id_of(record)

    def work(self, rounds: int = 20) -> None:
        """Work off what was announced, as workers do, until nothing is left."""
        for _ in range(rounds):
            if not self.log and not self.wanted:
                return
            messages, self.log[:] = list(self.log), []
            for task, ids in messages:
                verb = {
                    "leads.intake": self.journey.intake,
                    "leads.geocode": self.journey.locate,
                    "leads.route": self.journey.route,
                }[task]
                verb(ids)
            nudges, self.wanted[:] = dict.fromkeys(self.wanted), []
            for task in nudges:
                self.nudged(task)
        raise AssertionError(f"work without end: {self.log} {self.wanted}")

    def nudged(self, task: str) -> None:
        verbs: dict[str, Callable[[], object]] = {
            "outbox.deliver": self.outbound.deliver,
            "outbox.free": self.outbound.free,
            "deliveries.send": lambda: None,  # nobody here has a device or an endpoint
            "leads.wake": self.journey.wake,
            "leads.heed": self.heeder.heed,
            "leads.refresh": self.journey.refresh,
            "sweep.hourly": self.sweeper.hourly,
            "sweep.resync": self.sweeper.comparer.work,
        }
        verbs[task]()

    def tick(self) -> dict[str, int]:
        """One relay, and what it started."""
        counts = self.sweeper.relay()
        self.work()
        return counts

    def overdue(self, *leads: int, by: timedelta = timedelta(seconds=1)) -> None:
        """Let the deadlines of these leads' open offers have passed; of all when none are named."""
        self.run(
            "UPDATE offers SET offered_at = offered_at - interval '1 day', expires_at = clock_timestamp() - :by "
            "WHERE state = 'offered' AND (CAST(:leads AS bigint[]) = '{}' OR lead_id = ANY(CAST(:leads AS bigint[])))",
            by=by,
            leads=list(leads),
        )

    def aged(self, seconds: float = 60) -> None:
        """Let everything have happened that much earlier, as far as the relay looks."""
        past = timedelta(seconds=seconds)
        self.run("UPDATE leads SET updated_at = updated_at - :past, nudged_at = nudged_at - :past", past=past)
        self.run("UPDATE events SET received_at = received_at - :past, nudged_at = nudged_at - :past", past=past)

    # --- what the ledger says

    def run(self, statement: str, **values: Any) -> None:
        with transaction(self.engine) as connection:
            connection.execute(sa.text(statement), values)

    def rows(self, query: str, **values: Any) -> list[Any]:
        with transaction(self.engine) as connection:
            return list(connection.execute(sa.text(query), values))

    def value(self, query: str, **values: Any) -> Any:
        return self.rows(query, **values)[0][0]

    def id_of(self, record: str) -> int:
        found: int = self.value("SELECT id FROM leads WHERE salesforce_id = :r", r=record)
        return found

    def state(self, lead: int) -> tuple[str, str | None]:
        row = self.rows("SELECT state, reason FROM leads WHERE id = :lead", lead=lead)[0]
        return row.state, row.reason

    def holder(self, lead: int) -> int | None:
        """Who holds the lead's open offer."""
        query = "SELECT member_id FROM offers WHERE lead_id = :lead AND state IN ('offered', 'accepted')"
        found = self.rows(query, lead=lead)
        return found[0][0] if found else None

    def offer(self, lead: int) -> UUID:
        """The lead's open offer."""
        found: UUID = self.value(
            "SELECT id FROM offers WHERE lead_id = :lead AND state IN ('offered', 'accepted') ORDER BY slot", lead=lead
        )
        return found

    def told(self, member: int) -> list[str]:
        """What a member was told, in its order."""
        query = "SELECT number, what FROM notices WHERE member_id = :member ORDER BY number"
        rows = self.rows(query, member=member)
        assert [row.number for row in rows] == list(range(1, len(rows) + 1))
        return [row.what for row in rows]

    def decisions(self, lead: int) -> int:
        found: int = self.value("SELECT count(*) FROM decisions WHERE lead_id = :lead", lead=lead)
        return found

    def story(self, lead: int) -> list[str]:
        return [row.what for row in self.rows("SELECT what FROM timeline WHERE lead_id = :lead ORDER BY id", lead=lead)]

    def breaches(self) -> dict[str, list[tuple[str, str]]]:
        """Every row of every invariant view."""
        views = [row[0] for row in self.rows("SELECT viewname FROM pg_views WHERE viewname LIKE 'inv\\_%'")]
        assert views
        found = {view: [tuple(row) for row in self.rows(f"SELECT subject, detail FROM {view}")] for view in views}  # noqa: S608
        return {view: rows for view, rows in found.items() if rows}


def city(lat: float, lon: float, precision: Precision = Precision.CITY) -> Located:
    return Located(Point(lat, lon), precision, "atlas")
