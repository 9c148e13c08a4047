"""The org: its objects, records, users, sessions and event log."""

import asyncio
import random
import secrets
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from sandbox import ids, schema
from sandbox.avro import EventSchema, event_schema
from sandbox.bus import Bus, Event
from sandbox.cdc import Change, Commit, Draft, drafts
from sandbox.clock import Clock, iso
from sandbox.faults import Faults
from sandbox.journal import Journal, NoJournal
from sandbox.press import Press
from sandbox.schema import Field, SObject
from sandbox.tables import Table
from sandbox.values import Record

ADMIN, INTEGRATION, AUTOMATED = "admin@org.invalid", "integration@org.invalid", "automated.process@org.invalid"
SELECTED = ("Account", "Contact", "Lead", "Opportunity", "Fairturn_Offer__c")


@dataclass(frozen=True, slots=True)
class Actor:
    """Who writes, and through which door (changeOrigin)."""

    user_id: str
    origin: str = ""


@dataclass(slots=True)
class Options:
    """How the org behaves; all can be changed while it runs."""

    call_options_in_collections: bool = True
    daily_api_requests: int = 1_000_000
    daily_delivered_events: int = 1_000_000
    geocode_delay_s: float = 0.0  # 0: the org has no geocode rule
    forbidden: str = ""  # what the describe denies us, such as "Lead.updateable, Account.queryable"
    version_rule: bool = True  # the validation rule by which versions never fall


@dataclass
class Org:
    """One org. Everything happens on one thread, so a method is a transaction of its own."""

    id: str
    pod: str
    clock: Clock
    dice: random.Random
    types: dict[str, SObject]
    options: Options = field(default_factory=Options)
    journal: Journal = field(default_factory=NoJournal)
    selected: set[str] = field(default_factory=lambda: set(SELECTED))
    sessions: dict[str, str] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    api_calls: dict[int, int] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    commit_number: int = 11_400_000_000_000
    delivered: dict[int, int] = field(default_factory=dict)
    cursors: dict[str, Any] = field(default_factory=dict)
    purged: list[tuple[str, str, int]] = field(default_factory=list)  # object, id, when: the log of deletions
    watchers: list[Callable[[list[Change]], None]] = field(default_factory=list)
    late: set[asyncio.Task[None]] = field(default_factory=set)  # requests refused, to be applied all the same
    hurry: asyncio.Event = field(default_factory=asyncio.Event)  # set: those are applied now

    def __post_init__(self) -> None:
        self.born = dict(self.types)
        self.faults = Faults(self.dice)
        self.bus = Bus(self.clock, self.dice, on_issue=self.journal.issued)
        self.press = Press(self.bus, self.faults)
        self.tables = {name: Table(sobject) for name, sobject in self.types.items()}
        self.by_prefix = {sobject.prefix: name for name, sobject in self.types.items()}
        self.schemas: dict[str, EventSchema] = {}
        self.current: dict[str, EventSchema] = {}
        for sobject in self.types.values():
            self._describe_events(sobject)

    # --- objects

    def sobject(self, name: str) -> SObject | None:
        """The object of that name in any case."""
        found = self.types.get(name)
        if found is None:
            lower = name.lower()
            found = next((each for key, each in self.types.items() if key.lower() == lower), None)
        return found

    def type_of(self, record_id: str) -> SObject | None:
        name = self.by_prefix.get(record_id[:3])
        return self.types[name] if name else None

    def _describe_events(self, sobject: SObject) -> None:
        described = event_schema(sobject)
        self.current[sobject.name] = described
        self.schemas[described.id] = described

    def reshape(self, sobject: SObject) -> None:
        """Puts a changed object in place of the old one; its events get another schema from now on."""
        self.types[sobject.name] = sobject
        self.tables[sobject.name].reshape(sobject)
        self._describe_events(sobject)
        self.journal.shape(sobject, self.current[sobject.name])
        self.journal.flush(self)

    def add_field(self, object_name: str, new: Field) -> None:
        self.reshape(self.types[object_name].with_field(new))

    def remove_field(self, object_name: str, name: str) -> None:
        self.reshape(self.types[object_name].without([name]))

    # --- topics

    def entities(self, topic: str) -> frozenset[str]:
        """The objects whose changes a topic carries; empty when there is no such topic."""
        if topic == "/data/ChangeEvents":
            return frozenset(self.selected & self.types.keys())
        named = {f"/data/{self.current[name].name}": name for name in self.selected if name in self.types}
        return frozenset({named[topic]}) if topic in named else frozenset()

    # --- people

    def new_id(self, sobject: SObject) -> str:
        number = self.numbers.get(sobject.prefix, 0) + 1
        self.numbers[sobject.prefix] = number
        return ids.mint(sobject.prefix, number, self.pod)

    def user_named(self, username: str) -> str:
        """The id of this user, who is created if the org has not seen the name: anybody is let in."""
        users = self.tables["User"]
        for found in users.holders("Username", username):
            return found
        user_id = self.new_id(users.sobject)
        now = self.clock.second_ms()
        record = {
            "Id": user_id,
            "Username": username,
            "LastName": username.partition("@")[0].title(),
            "Name": username.partition("@")[0].title(),
            "Email": username if "@" in username else None,
            "IsActive": True,
            "UserType": "Standard",
            "CreatedDate": now,
            "LastModifiedDate": now,
            "SystemModstamp": now,
            "CreatedById": user_id,
            "LastModifiedById": user_id,
        }
        self.keep(users.sobject, record)
        return user_id

    def keep(self, sobject: SObject, record: Record) -> None:
        """Stores a record that no event tells of."""
        self.tables[sobject.name].put(record["Id"], record)
        self.journal.records([(sobject.name, record["Id"], record)])
        self.journal.flush(self)

    def open_session(self, user_id: str) -> str:
        """A token: the short org id, `!`, a secret."""
        token = f"{self.id[: ids.SHORT]}!{secrets.token_urlsafe(48)}"
        self.sessions[token] = user_id
        return token

    # --- commits

    def commit(self, changes: list[Change], actor: Actor) -> None:
        """Publishes what a transaction did, in one transactionKey."""
        if not changes:
            return
        commit = self.next_commit(actor)
        selected = {name: self.current[name] for name in self.selected if name in self.current}
        self.press.publish(drafts(changes, commit, selected))
        self._remember(changes, commit)
        self.journal.records([(each.sobject.name, each.id, each.after) for each in changes])
        self.journal.flush(self)
        for watch in self.watchers:
            watch(changes)

    def purge(self, sobject: SObject, record_id: str) -> bool:
        """Destroys a record, in the recycle bin or not: no event tells of it, only the log of deletions."""
        table = self.tables[sobject.name]
        record = table.records.get(record_id)
        if record is None:
            return False
        at_ms = record["SystemModstamp"] if record.get("IsDeleted") else self.clock.second_ms()
        self.purged.append((sobject.name, record_id, at_ms))
        table.put(record_id, None)
        self.journal.records([(sobject.name, record_id, None)])
        self.journal.flush(self)
        return True

    def publish(self, made: Iterable[Draft]) -> list[Event]:
        """Publishes events that no change stands behind."""
        events = self.press.publish(list(made))
        self.journal.flush(self)
        return events

    def next_commit(self, actor: Actor) -> Commit:
        self.commit_number += self.dice.randint(1, 9_000)
        key = str(uuid.UUID(int=self.dice.getrandbits(128)))
        return Commit(key, self.commit_number, self.clock.now_ms(), actor.user_id, actor.origin)

    def _remember(self, changes: list[Change], commit: Commit) -> None:
        for change in changes:
            self.history.append(
                {
                    "n": len(self.history) + 1,
                    "at": iso(commit.at_ms),
                    "transaction": commit.key,
                    "type": change.kind,
                    "object": change.sobject.name,
                    "id": change.id,
                    "values": change.values,
                    "user": commit.user_id,
                    "origin": commit.origin,
                }
            )

    def count_call(self) -> tuple[int, int]:
        """Counts one API request of today; used so far, and allowed."""
        today = self._today()
        self.api_calls[today] = self.api_calls.get(today, 0) + 1
        return self.api_calls[today], self.options.daily_api_requests

    def count_delivered(self, events: int) -> None:
        today = self._today()
        self.delivered[today] = self.delivered.get(today, 0) + events

    def allowance_used_up(self) -> bool:
        """Whether today's subscribers have had all events they may have."""
        return self.delivered.get(self._today(), 0) >= self.options.daily_delivered_events

    def _today(self) -> int:
        return self.clock.now_ms() // 86_400_000

    def reset(self) -> None:
        """The org as it started: same id, people and sessions, nothing else; old replay ids are unknown from now on."""
        self.journal.forget()
        for name, sobject in self.born.items():
            if self.types[name] is not sobject:
                self.reshape(sobject)
            if name not in {"User", "Group"}:
                self.tables[name].clear()
            self.journal.records((name, each, record) for each, record in self.tables[name].records.items())
        self.bus.clear()
        for memory in (
            self.history,
            self.faults.standing,
            self.press.held,
            self.api_calls,
            self.delivered,
            self.purged,
        ):
            memory.clear()
        self.options = Options()
        self.selected = set(SELECTED)
        self.clock.offset_ms = 0
        self.journal.flush(self)


def new_org(*, bare: bool = False, seed: int | None = None, journal: Journal | None = None) -> Org:
    """The default org, with its people and one queue."""
    dice = random.Random(seed)
    org = Org(
        id=ids.mint("00D", dice.getrandbits(40)),
        pod=ids.base62(dice.randrange(62**2, 62**3)),
        clock=Clock(),
        dice=dice,
        types=schema.load(bare=bare),
        journal=journal or NoJournal(),
    )
    org.bus.tip += dice.getrandbits(36)  # so that a replay id of another org is a stranger here
    for username in (ADMIN, INTEGRATION, AUTOMATED):
        org.user_named(username)
    _add_queue(org, "Unassigned_Leads", "Unassigned Leads")
    return org


def _add_queue(org: Org, developer_name: str, name: str) -> None:
    record: Record = {
        "Id": org.new_id(org.types["Group"]),
        "Name": name,
        "DeveloperName": developer_name,
        "Type": "Queue",
        "CreatedDate": org.clock.second_ms(),
        "SystemModstamp": org.clock.second_ms(),
    }
    org.keep(org.types["Group"], record)
