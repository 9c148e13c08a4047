"""A whole house before a whole Salesforce: real ledger, real turnstile, the sandbox over its real wires.

The world is a generator of what people do to leads; the judge reads the org by its own door for tests and the ledger by
SQL, and knows what each field must be without asking the code that mapped it.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from gateways.countries import alpha2
from gateways.salesforce.auth import ClientCredentials, TokenProvider
from gateways.salesforce.mapping import FieldMap
from gateways.salesforce.rest import Salesforce
from gateways.salesforce.stream import Endpoint, Stream
from routing.change import Change, WriteBack, Written
from routing.compare import OVERLAP, Comparer, Kind
from routing.intake import Folded, Sheet, fold
from storage.postgres.positions import Positions
from storage.postgres.scans import Scans
from tests.integration.routing.house import TOPIC, House
from tests.sandbox_fixture import SandboxOrg
from workers.subscriber import Subscriber

CLIENT = "Fairturn"
COUNTRIES = {"US": "US", "United States": "US", "Canada": "CA", "Deutschland": "DE", None: ""}


class Live(House):
    """The wiring of config around one sandbox; `following` reads its stream in a thread of this process."""

    def __init__(
        self, database_url: str, redis_url: str, org: SandboxOrg, *, gather_s: float = 0.0, lease_s: float = 60.0
    ) -> None:
        super().__init__(database_url, redis_url)
        self.org = org
        self.mapping = FieldMap.load()
        self.tokens = TokenProvider(org.login_url, ClientCredentials("app", "secret"), ca_file=org.ca)
        self.salesforce = Salesforce(self.tokens, self.mapping, client_name=CLIENT, ca_file=org.ca)
        self.journey = replace(self.journey, read=self._fold, fetch=self.salesforce.read, gather_s=gather_s)
        self.scans = Scans(self.engine, TOPIC, lease_s=lease_s)
        self.comparer = Comparer(scans=self.scans, org=lambda: self.salesforce, journey=self.journey)
        self.sweeper = replace(self.sweeper, journey=self.journey, comparer=self.comparer)
        self.breaks: list[str] = []
        self.resyncs: list[str] = []

    def _write(self, writes: Sequence[WriteBack]) -> list[Written]:
        self.written += writes
        return self.salesforce.write(writes)

    def _fold(self, change: Change, known: Sheet | None) -> Folded:
        mapping = self.mapping
        return fold(
            known,
            change,
            mapping.fields_of(change.body),
            ours=mapping.is_echo(change, client_name=CLIENT, user_id=self.tokens.token().user_id),
            partial=mapping.says_too_little(change.body),
            geocoded=not change.origin and mapping.is_geocode(change.changed),
            alpha2=alpha2,
        )

    def subscriber(self, **options: Any) -> Subscriber:
        endpoint = Endpoint(f"localhost:{self.org.grpc_tls}", ca_file=self.org.ca)
        patience: dict[str, Any] = {"tick_s": 0.05, "dice": lambda: 0.05, "broke": self.breaks.append} | options

        def resync(since: Any, why: str) -> None:
            self.resyncs.append(why)
            self.scans.ask(Kind.CHANGED, why, since=since - OVERLAP)

        return Subscriber(
            TOPIC,
            positions=Positions(self.engine),
            events=self.events,
            stream=lambda stop: Stream(endpoint, TOPIC, self.tokens, stop=stop, **patience),
            announce=lambda *_: None,
            resync=resync,
            beat=lambda: None,
        )

    @contextmanager
    def following(self, **options: Any) -> Iterator[Subscriber]:
        """A subscriber at work for the length of a `with`; it must not fail."""
        subscriber = self.subscriber(**options)
        failures: list[Exception] = []

        def run() -> None:
            try:
                subscriber.run()
            except Exception as exc:  # noqa: BLE001 - raised again in the thread that waits
                failures.append(exc)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield subscriber
        finally:
            subscriber.stop()
            thread.join(timeout=30)
        assert not failures, failures
        assert not thread.is_alive()

    def step(self, *, route: bool = True) -> bool:
        """Do what waits now, as workers and the relay do; False when nothing did."""
        waiting = [row.id for row in self.rows("SELECT id FROM events WHERE state = 'pending' ORDER BY id LIMIT 100")]
        busy = bool(waiting)
        if waiting:
            self.journey.intake(waiting)
        busy |= bool(self.journey.refresh()) or self.scans.waiting()
        self.comparer.work()
        if route:
            self.work(rounds=200)
        self.log.clear()
        self.wanted.clear()
        return busy

    def settle(self, until: Callable[[], object], *, within_s: float = 120, route: bool = True) -> None:
        """Work until nothing is left to do and it is true."""
        deadline, idle = time.monotonic() + within_s, False
        while True:
            ready = idle and until()  # asked first: what comes in afterwards may not be worked on yet
            busy = self.step(route=route) or self.value("SELECT count(*) FROM leads WHERE dirty")
            if ready and not busy:
                return
            assert time.monotonic() < deadline, self.differences()[:5]
            idle = not busy
            if idle:
                time.sleep(0.05)

    def wait(self, until: Callable[[], object], *, within_s: float = 120) -> None:
        """Wait without doing anything."""
        deadline = time.monotonic() + within_s
        while not until():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    # --- the judge

    def in_org(self) -> Iterator[Mapping[str, Any]]:
        """Every lead the org holds, by its door for tests."""
        after = ""
        while True:
            page = self.org.admin("GET", "records", object="Lead", after=after, limit=1_000)
            yield from page["records"]
            if page["done"]:
                return
            after = page["records"][-1]["Id"]

    def differences(self) -> list[str]:
        """Where the ledger is not what the org is: field by field, both ways."""
        ledger = {row.salesforce_id: row for row in self.rows(_LEDGER)}
        found = []
        for record in self.in_org():
            row = ledger.pop(record["Id"], None)
            gone = record["IsDeleted"] or record["IsConverted"]
            if row is None:
                found += [] if gone else [f"{record['Id']} is missing"]
            elif gone or row.state == "withdrawn":
                found += [] if gone and row.state == "withdrawn" else [f"{record['Id']}: {row.state}, gone: {gone}"]
            else:
                found += [
                    f"{record['Id']}.{name}: {getattr(row, name)!r} for {wanted!r}"
                    for name, wanted in _wanted(record).items()
                    if getattr(row, name) != wanted
                ]
        return found + [f"{each} is not in the org" for each, row in ledger.items() if row.state != "withdrawn"]


_LEDGER = """
    SELECT l.salesforce_id, l.state, l.source, l.source_id, l.priority, l.city, l.region, l.postal_code, l.country,
           l.owner_id, l.told_lat, l.told_lon, c.name, c.company, c.email, c.phone, c.street
    FROM leads l LEFT JOIN lead_contacts c ON c.lead_id = l.id
"""


def _wanted(record: Mapping[str, Any]) -> dict[str, Any]:
    """What each of our fields must be, read off the default mapping by a person."""
    texts = {
        "source": "LeadSource",
        "city": "City",
        "region": "State",
        "postal_code": "PostalCode",
        "company": "Company",
        "email": "Email",
        "street": "Street",
    }
    wanted: dict[str, Any] = {ours: record[theirs] or "" for ours, theirs in texts.items()}
    wanted |= {
        "name": " ".join(part for part in (record["FirstName"], record["LastName"]) if part),
        "phone": record["Phone"] or record["MobilePhone"] or "",
        "country": COUNTRIES[record["Country"]],
        "priority": int(record["Fairturn_Priority__c"] or 0),
        "source_id": record["Fairturn_Source_Id__c"],
        "owner_id": record["OwnerId"],
    }
    return wanted | {"told_lat": record["Latitude"], "told_lon": record["Longitude"]}


@dataclass
class People:
    """Who works in the org: creates, edits, deletes and restores leads at random, the same for the same seed."""

    org: SandboxOrg
    seed: int = 1
    alive: list[str] = field(default_factory=list)
    binned: list[str] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=dict)
    _number: int = 0

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)

    def create(self, count: int) -> list[str]:
        made = self.org.create_leads(*[self._lead() for _ in range(count)])
        self.alive += made
        return self._did("created", made)

    def update(self, count: int) -> list[str]:
        chosen = self.dice.sample(self.alive, min(count, len(self.alive)))
        rows = [{"attributes": {"type": "Lead"}, "Id": each, **self._edit()} for each in chosen]
        self._collection("PATCH", json={"records": rows})
        return self._did("updated", chosen)

    def delete(self, count: int) -> list[str]:
        chosen = self.dice.sample(self.alive, min(count, len(self.alive)))
        self._collection("DELETE", params={"ids": ",".join(chosen)})
        gone = set(chosen)
        self.alive = [each for each in self.alive if each not in gone]
        self.binned += chosen
        return self._did("deleted", chosen)

    def restore(self, count: int) -> list[str]:
        chosen = self.dice.sample(self.binned, min(count, len(self.binned)))
        if chosen:
            self.org.admin("POST", "undelete", {"ids": chosen})
        back = set(chosen)
        self.binned = [each for each in self.binned if each not in back]
        self.alive += chosen
        return self._did("restored", chosen)

    def something(self, count: int) -> None:
        """One call of some kind about so many leads, 200 at most."""
        kind = self.dice.choices(
            [self.create, self.update, self.delete, self.restore],
            [50, 38, 8, 4] if len(self.alive) > 400 else [1, 0, 0, 0],
        )[0]
        kind(min(count, 200))

    @property
    def changes(self) -> int:
        return sum(self.done.values())

    def _did(self, what: str, ids: list[str]) -> list[str]:
        self.done[what] = self.done.get(what, 0) + len(ids)
        return ids

    def _collection(self, method: str, **options: Any) -> None:
        answer = self.org.rest(method, "composite/sobjects", **options)
        assert answer.status_code == 200, answer.text
        assert all(row["success"] for row in answer.json()), answer.text

    def _lead(self) -> dict[str, Any]:
        self._number += 1
        return {
            "LastName": f"Last {self._number}",
            "Fairturn_Source_Id__c": f"S-{self.seed}-{self._number}",
            "Company": "Acme",
            **{name: value() for name, value in self._fields().items()},
            **self._place(),
        }

    def _edit(self) -> dict[str, Any]:
        fields = self._fields()
        names = self.dice.sample(sorted(fields), 3)
        edit = {name: fields[name]() for name in names}
        return edit | (self._place() if self.dice.random() < 0.3 else {})

    def _place(self) -> dict[str, Any]:
        """An address with its own coordinates."""
        n = self.dice.randrange(10_000)
        return {
            "Street": f"{n} Elm St",
            "City": f"Town {n % 700}",
            "PostalCode": f"{n:05}",
            "Latitude": round(30 + n / 1000, 6),
            "Longitude": round(-100 + n / 700, 6),
        }

    def _fields(self) -> dict[str, Callable[[], Any]]:
        dice = self.dice
        return {
            "FirstName": lambda: dice.choice(["Ann", "Bo", None]),
            "Company": lambda: f"Firm {dice.randrange(1000)}",
            "Email": lambda: dice.choice([None, f"a{dice.randrange(10**6)}@example.com"]),
            "Phone": lambda: dice.choice([None, f"+1555{dice.randrange(10**6):06}"]),
            "State": lambda: dice.choice(["NY", "TX", None]),
            "Country": lambda: dice.choice(["US", "United States", "Canada", "Deutschland"]),
            "LeadSource": lambda: dice.choice(["Web", "Other", None]),
            "Fairturn_Priority__c": lambda: dice.choice([None, 0, 3, 9]),
        }
