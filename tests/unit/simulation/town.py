"""A made-up history: a simulation of dice, written down as the ledger would, to be simulated again."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from config import policy as policy_file
from routing.lead import Lead, Point
from routing.member import Member, Roster
from routing.policy import Policy
from routing.simulation.habits import ASSUMED, Habits
from routing.simulation.past import (
    MemberFacts,
    Past,
    PastDecision,
    PastLead,
    PastOffer,
    PastPolicy,
    PastRoster,
    us,
)
from routing.simulation.script import script
from routing.simulation.world import World

BEGIN = datetime(2026, 10, 1, 6, tzinfo=UTC)
HABITS = Habits({}, ASSUMED, 1)


def a_policy(version: int = 1, *, capacity: int = 3, **pool: Any) -> Policy:
    installers = {
        "name": "installers",
        "market": "main",
        "rings": {"unit": "mi", "radii": [5, 15, 30]},
        "answers": {
            "reject_reasons": {"too_far": "return", "no_capacity": "consume", "other": "penalise"},
            "return_reasons": {"unreachable": "return", "other": "consume"},
            "expired_turn": "return",
        },
    }
    document = {
        "pools": [installers | pool],
        "tiers": [{"name": "gold", "weight": 2, "capacity": 2 * capacity}],
        "default_tier": {"weight": 1, "capacity": capacity},
    }
    return policy_file.parse(document, version)


def a_town(
    leads: int,
    members: int,
    *,
    days: float = 10,
    seed: int = 1,
    policy: Policy | None = None,
    later: Roster | None = None,
) -> Past:
    """Leads and members around one place, and nothing that has happened yet."""
    dice = random.Random(seed)

    def place() -> Point:
        return Point(round(40 + dice.uniform(-0.3, 0.3), 5), round(-75 + dice.uniform(-0.4, 0.4), 5))

    people = [
        Member(i, f"m{i}", f"Member {i}", "main", "gold" if i % 3 == 0 else "silver", (place(),))
        for i in range(1, members + 1)
    ]
    end = BEGIN + timedelta(days=days)
    made = [
        PastLead(
            Lead(i, BEGIN + timedelta(seconds=round(dice.uniform(0, days * 86400), 3)), place=place()),
            f"L{i}",
            f"19{i % 5:03d}",
            "PA",
        )
        for i in range(1, leads + 1)
    ]
    half = [m for m in people if m.id % 7]  # on the way, some leave
    rosters = [
        PastRoster(0, Roster("main", 1, people)),
        PastRoster(us(BEGIN + timedelta(days=days / 2)), Roster("main", 2, half)),
    ]
    return Past(
        us(BEGIN),
        us(end),
        sorted(made, key=lambda one: one.lead.received_at),
        rosters,
        [PastPolicy(0, policy or a_policy())],
        {m.id: MemberFacts(m.id, m.key, m.name, "main", m.tier) for m in people},
    )


def played(past: Past, policy: Policy | None = None, habits: Habits = HABITS) -> World:
    world = World(past, script(past), habits, policy)
    world.run()
    return world


def lived(past: Past, world: World) -> Past:
    """The same stretch with what came of it as its history."""
    return replace(
        past,
        decisions=[_decision(one) for one in world.made],
        offers=[
            PastOffer(
                o.id, o.lead, o.member, o.market, o.attempt, o.slot, o.kind, o.state, o.reason, o.offered, o.expires,
                o.accepted, o.ended, o.distance_m,
            )
            for o in sorted(world.ledger.offers.values(), key=lambda o: o.offered)
        ],
        corrections=list(world.corrected),
    )  # fmt: skip


def _decision(made: Any) -> PastDecision:
    d = made.verdict.decision
    rows = list(d.weighed)
    return PastDecision(
        d.market,
        d.generation,
        d.seq,
        us(d.at),
        d.lead,
        d.attempt,
        d.policy_version,
        d.roster_version,
        d.pool,
        d.rotation,
        str(d.mode),
        d.chosen,
        str(d.reason),
        d.nearest_m,
        d.rings_m,
        d.ring,
        [w.distance_m for w in rows],
        [w.member for w in rows],
        [w.weight for w in rows],
        [w.capacity for w in rows],
        [int(w.gate) for w in rows],
        [w.open for w in rows],
        [w.standing for w in rows],
        [w.served for w in rows],
    )
