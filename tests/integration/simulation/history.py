"""Makes a history through the real house: dice decide what members do, the house does the rest."""

import random
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from routing.offer import Actor, OfferExpired
from routing.simulation.past import Past
from storage.postgres.past import PastReader
from tests.integration.routing.house import House

AREA = (40.0, -75.0)


def policy(**pool: Any) -> dict[str, Any]:
    """Deadlines of a second, turns that are given back and paid twice, capacities that are soon used up."""
    answers = {
        "reject_reasons": {"too_far": "return", "no_capacity": "consume", "other": "penalise"},
        "expired_turn": "consume",
        "return_reasons": {"unreachable": "return", "other": "consume"},
        "returns_percent": 100,
        **pool.pop("answers", {}),
    }
    installers = {
        "name": "installers",
        "market": "main",
        "rings": {"unit": "mi", "radii": [5, 15, 30]},
        "answer_within": "1s",
        "answers": answers,
    }
    return {
        "pools": [installers | pool],
        "tiers": [{"name": "gold", "weight": 2, "capacity": 4}],
        "default_tier": {"weight": 1, "capacity": 2},
    }


def read(house: House, since: datetime) -> Past:
    """Up to the last thing that happened: after it nobody in this house looks what is due."""
    past = PastReader(house.engine, house.ledger.policy).read(since, datetime.now(UTC))
    last = max(*(d.at for d in past.decisions), *(o.ended or 0 for o in past.offers))
    return replace(past, until=last + 1)


#: Facts of a lead for each rule below, and of one for none.
KINDS: list[dict[str, Any]] = [
    {"source": "Key"},
    {"source": "Fair"},
    {"source": "Web"},
    {"attributes": {"product": "spam"}},
    {"attributes": {"product": "heat pump"}},
    {"attributes": {"product": "roof"}},
    {"attributes": {"kw": 150, "score": 70}},
    {"attributes": {"language": "es"}},
    {},
]


def ruled(**installers: Any) -> dict[str, Any]:
    """Rules of every kind, two pools, limits, units, points."""
    rules: list[dict[str, Any]] = [
        {"name": "heavy", "when": "lead.kw > 100.0", "then": {"units": 2, "priority": 20}},
        {
            "name": "spanish",
            "when": 'lead.language == "es"',
            "then": {"skills": [{"name": "languages", "wanted": "es"}]},
        },
        {"name": "key", "when": 'lead.source == "Key"', "then": {"owner": {"table": "accounts", "column": "owner"}}},
        {"name": "fair", "when": 'lead.source == "Fair"', "then": {"hold": "spring"}},
        {"name": "enrich", "when": 'lead.source == "Web"', "then": {"wait": {"facts": ["lead.score"], "up_to": "1m"}}},
        {"name": "spam", "when": 'lead.product == "spam"', "then": {"quarantine": "test address"}},
        {"name": "rivals", "when": 'lead.product == "heat pump"', "then": {"ignore": True}},
        {"name": "roofs", "when": 'lead.product == "roof"', "then": {"pool": "roofers"}},
    ]
    made = policy(limits=[{"of": "member", "most": 8, "per": "1h"}], **installers)
    roofers = {"name": "roofers", "market": "main", "rings": {"unit": "mi", "radii": [12]}, "mode": "nearest"}
    return made | {
        "attributes": {
            "lead": {"product": "text", "kw": "number", "score": "number", "language": "text"},
            "member": {"languages": "list"},
        },
        "rules": rules,
        "default": {"pool": "installers"},
        "tables": {
            "accounts": {
                "key": ["lead.postal_code*"],
                "columns": {"owner": "text"},
                "rows": [{"postal_code": "19001", "owner": "m1"}, {"postal_code": "1900", "owner": "m4"}],
            }
        },
        "giving": {"accept": False, "beyond_capacity": False},
        "priority": {"points": [{"name": "score", "fact": "lead.score", "times": 1.0}], "best": {"at_least": 60}},
        "pools": [*made["pools"], roofers | {"answer_within": "2s", "overflow": {"pool": "installers"}}],
    }


class Town:
    """Members around one place, and leads that come to them."""

    def __init__(self, house: House, seed: int = 1) -> None:
        self.house, self.dice = house, random.Random(seed)
        self.begun = datetime.now(UTC)
        self._number = 0
        self._silent: set[UUID] = set()

    def settle(self, members: int, **pool: Any) -> None:
        self.house.publish_document(policy(**pool))
        for number in range(members):
            self.member(f"m{number}", tier="gold" if number % 3 == 0 else "silver")
        self.house.work()

    def member(self, key: str, **over: Any) -> int:
        lat, lon = self._place()
        return self.house.member(key, lat, lon, **over)

    def arrive(self, count: int) -> None:
        """So many leads come in together and are routed."""
        for _ in range(count):
            self.lead()
        self.house.work()

    def lead(self, **facts: Any) -> int:
        """A lead comes in, and is not worked on."""
        self._number += 1
        lat, lon = self._place()
        return self.house.lead(
            f"00QTOWN{self._number:08d}AAA", lat, lon, postal_code=f"19{self._number % 7:03d}", **facts
        )

    def tell(self, lead: int, **facts: Any) -> None:
        """Salesforce says something new about a lead."""
        record = self.house.value("SELECT salesforce_id FROM leads WHERE id = :lead", lead=lead)
        self.house.journey.intake(self.house.store([self.house.change(record, "UPDATE", body=facts)]))

    def release(self, *leads: int) -> None:
        """A person gives leads back to routing."""
        self.house.journey.route(self.house.baskets.release(leads, actor="test").released)

    def answer(self) -> None:
        """Every open offer may be answered now; some never are."""
        query = "SELECT id, state, accepted_at FROM offers WHERE state IN ('offered', 'accepted') ORDER BY id"
        for row in self.house.rows(query):
            lot = self.dice.random()
            if row.id in self._silent:
                continue
            if row.state == "offered":
                self._reply(row.id, lot)
            elif lot < 0.30:
                self.house.desk.complete(row.id, actor=Actor.MANAGER)
            elif lot < 0.35:
                self.house.desk.lose(row.id, "other", actor=Actor.MANAGER)
            elif lot < 0.42:
                self.house.desk.give_back(row.id, "unreachable", actor=Actor.MANAGER)
            if self.dice.random() < 0.2:
                self.house.work()
        self.house.work()

    def tick(self) -> None:
        """The clock looks what is due."""
        self.house.journey.expire()
        self.house.timekeeper.look()
        self.house.work()

    def _reply(self, offer: UUID, lot: float) -> None:
        with suppress(OfferExpired):  # as it comes on a slow machine
            self._say(offer, lot)

    def _say(self, offer: UUID, lot: float) -> None:
        if lot < 0.45:
            self.house.desk.accept(offer, actor=Actor.MANAGER)
        elif lot < 0.70:
            reason = self.dice.choice(["too_far", "no_capacity", "other"])
            self.house.desk.reject(offer, reason, actor=Actor.MANAGER)
        elif lot < 0.80:
            self._silent.add(offer)

    def _place(self) -> tuple[float, float]:
        return AREA[0] + self.dice.uniform(-0.25, 0.25), AREA[1] + self.dice.uniform(-0.3, 0.3)
