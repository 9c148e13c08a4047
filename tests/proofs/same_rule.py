"""The Python rule and the Lua come to the same, and both are made again identically by another process.

    python -m tests.proofs.same_rule [--decisions 100000] [--seed 1]

Batches of leads are made up: every mode, weights and capacities of any size, members who are full, capacities that
differ from lead to lead, several groups and rotations, units of capacity, turns of any size, limits and shares; offers
are released, reservations kept and cancelled, turns corrected. Each batch is asked of the turnstile on a real Valkey,
which decides in Lua, and of the one in memory, which decides by routing/fairness.py: grants, what was seen of each
candidate, accounts, places and counters must be the same, numbers included. Then every decision, as the ledger would
keep it, goes through a file to another process with other hash seeds, which makes each again. Exit code 1 on any
difference.
"""

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import redis

from routing.decision import Ask, Candidate, Gate, Grant, Group
from routing.fairness import TURN
from routing.limits import Check
from routing.policy import Mode
from routing.ports import Snapshot
from routing.simulation.turnstile import MemoryTurnstile
from routing.turns import Correction, Effect
from routing.verify import Past, again
from storage.redis.turnstile import RedisTurnstile

MARKET = "proof"
MEMBERS = 40
ROTATIONS = ("installers", "installers/ring2", "installers@2026-11", "shared/tier2")
NOW = datetime(2026, 11, 22, tzinfo=UTC)


@dataclass(slots=True)
class Made:
    """What the proof came to."""

    decisions: int = 0
    nobody: int = 0
    batches: int = 0
    released: int = 0
    cancelled: int = 0
    corrected: int = 0
    stopped: int = 0  # candidates whom a limit stopped
    digest: str = ""
    again: str = ""  # the other process's

    @property
    def holds(self) -> bool:
        return bool(self.digest) and self.digest == self.again


class Makes:
    """Makes up batches of leads, and what happens to their offers."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.leads = 0
        self.capacity = {m: self.dice.choice((0, 1, 2, 3, 10, 1000)) for m in range(1, MEMBERS + 1)}
        self.weight = {m: self.dice.choice((1, 333, 1000, 1000, 2000, 4000, 999_999)) for m in range(1, MEMBERS + 1)}
        self.held: dict[UUID, int] = {}
        self.unsettled: list[tuple[int, int]] = []

    def uuid(self) -> UUID:
        return UUID(int=self.dice.getrandbits(128), version=4)

    def batch(self) -> list[Ask]:
        """Leads asked for together; some batches are of one rotation and equal weights, as most are in life."""
        plain, own = self.dice.random() < 0.3, self.dice.random() < 0.2
        mode = self.dice.choice((Mode.FAIR, Mode.FAIR, *Mode))
        return [self._ask(plain=plain, own=own, mode=mode) for _ in range(self.dice.randint(1, 40))]

    def _ask(self, *, plain: bool, own: bool, mode: Mode) -> Ask:
        self.leads += 1
        crowd = self.dice.sample(range(1, MEMBERS + 1), self.dice.randint(1, 12))
        cut = len(crowd) if plain or self.dice.random() < 0.5 else self.dice.randint(0, len(crowd))
        parts = [part for part in (crowd[:cut], crowd[cut:]) if part]
        mode = mode if plain or self.dice.random() < 0.8 else self.dice.choice(list(Mode))
        groups = tuple(self._group(n, part, plain=plain, own=own) for n, part in enumerate(parts))
        units = 1 if plain or self.dice.random() < 0.7 else self.dice.randint(2, 5)
        turn = TURN if plain or self.dice.random() < 0.6 else self.dice.choice((10_000, 333_333, 2_500_000, 99_999_999))
        limits = self._limits(crowd) if not plain and self.dice.random() < 0.2 else {}
        return Ask(self.leads, 1, self.uuid(), mode, groups, self.dice.random() < 0.9, units, turn, limits)

    def _group(self, ring: int, members: Sequence[int], *, plain: bool, own: bool) -> Group:
        name = ROTATIONS[0] if plain else self.dice.choice(ROTATIONS)
        people = tuple(
            Candidate(
                m,
                round(self.dice.uniform(0, 40_000), self.dice.choice((0, 1, 4))),
                ring,
                1,
                1000 if plain else self.weight[m],
                self.dice.randint(0, 12) if own else self.capacity[m],
            )
            for m in members
        )
        return Group(ring, name, people)

    def _limits(self, members: Sequence[int]) -> Mapping[int, tuple[Check, ...]]:
        bucket = self.leads // 2000
        pool = Check("pool", "pool/day", bucket, 1, 0, 10**6, self.dice.choice((50, 10_000)))
        found: dict[int, tuple[Check, ...]] = {}
        for m in self.dice.sample(members, self.dice.randint(1, len(members))):
            buckets = self.dice.choice((1, 3))  # a counter is of one window
            own = Check("day", f"m{m}/{buckets}", bucket, buckets, 0, 10**6, self.dice.choice((1, 5, 60)))
            whole = Check("whole", "whole", bucket, 4, 0, 10**6)
            share = Check("share", f"m{m}/share", bucket, 4, 0, 10**6, percent=20, floor=10, whole="whole")
            found[m] = self.dice.choice(((own,), (pool, own), (share, whole), (own, share, whole)))
        return found

    def happened(self, grants: Iterable[Grant]) -> None:
        for grant in grants:
            if grant.member is not None:
                self.held[grant.offer] = grant.member
                self.unsettled.append((grant.lead, grant.attempt))

    def release(self) -> list[UUID]:
        """Offers that end: so many that many members have room again, and not all."""
        some = self.dice.sample(sorted(self.held), self.dice.randint(0, len(self.held) // 2))
        for offer in some:
            del self.held[offer]
        return some

    def settle(self, offers: Mapping[tuple[int, int], UUID]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """(keep, cancel) of what is unsettled; now and then something is left for later."""
        keep: list[tuple[int, int]] = []
        cancel: list[tuple[int, int]] = []
        left: list[tuple[int, int]] = []
        for one in self.unsettled:
            (keep if (fate := self.dice.random()) < 0.9 else cancel if fate < 0.97 else left).append(one)
        self.unsettled = left
        for one in cancel:
            self.held.pop(offers[one], None)
        return keep, cancel

    def correction(self) -> Correction:
        members = self.dice.sample(range(1, MEMBERS + 1), 4)
        deltas = {m: self.dice.randint(-3 * TURN, 3 * TURN) for m in members[1:]}
        return Correction(
            self.uuid(), MARKET, self.dice.choice(ROTATIONS), Effect.GIVE, "proof",
            {**deltas, members[0]: -sum(deltas.values())},
        )  # fmt: skip


def prove(number: int, redis_url: str, *, seed: int = 1) -> Made:
    """Ask both, batch by batch; raises AssertionError where they differ."""
    patient = redis.Redis.from_url(redis_url)  # on a busy machine the server may have to wait for its turn
    lua, python, makes, made = RedisTurnstile(patient), MemoryTurnstile(), Makes(seed), Made()
    snapshot = Snapshot(generation=1, seq=0, open_offers={}, standings={}, ticks={}, cursors={})
    with ExitStack() as stack, tempfile.TemporaryDirectory() as place:
        stack.callback(lua.close)
        for turnstile in (lua, python):
            turnstile.rebuild(MARKET, snapshot)
        file = Path(place) / "decisions.jsonl"
        seen, offers = hashlib.sha256(), dict[tuple[int, int], UUID]()
        with file.open("w", encoding="utf-8") as out:
            while made.decisions < number:
                for line, verdict in _batch(lua, python, makes, made, offers):
                    out.write(line + "\n")
                    seen.update(verdict.encode())
        made.digest = seen.hexdigest()
        made.again = _elsewhere(file)
    return made


def _batch(
    lua: RedisTurnstile, python: MemoryTurnstile, makes: Makes, made: Made, offers: dict[tuple[int, int], UUID]
) -> Iterator[tuple[str, str]]:
    asks, release = makes.batch(), makes.release()
    cursors = python.cursors(MARKET)
    one = lua.reserve(MARKET, asks, generation=1, release=release)
    other = python.reserve(MARKET, asks, generation=1, release=release)
    made.batches, made.released = made.batches + 1, made.released + len(release)
    for ask, left, right in zip(asks, one, other, strict=True):
        assert _plain(left) == _plain(right), (ask, left, right)
        made.stopped += len(right.stops)
        made.nobody += right.member is None
        if right.member is None or right.group is None:
            continue
        offers[right.lead, right.attempt] = right.offer
        made.decisions += 1
        past = _past(ask, right)
        yield _written(past, cursors.get(past.rotation, 0)), _told(past.id, right.member, past, cursors)
        cursors[past.rotation] = right.member
    makes.happened(other)
    keep, cancel = makes.settle(offers)
    corrections = [makes.correction()] if makes.dice.random() < 0.2 else []
    for turnstile in (lua, python):
        turnstile.settle(MARKET, keep=keep, cancel=cancel)
        done = turnstile.correct(MARKET, corrections, generation=1) if corrections else []
        turnstile.settle_corrections(MARKET, keep=[(n.id, n.seq) for n in done])
    made.cancelled, made.corrected = made.cancelled + len(cancel), made.corrected + len(corrections)
    _same(lua, python, deep=made.batches % 20 == 0)


def _same(lua: RedisTurnstile, python: MemoryTurnstile, *, deep: bool) -> None:
    """Whether both hold the same; looked at whole now and then, as it costs more than deciding."""
    assert lua.mark(MARKET) == python.mark(MARKET)
    if not deep:
        return
    for name in ROTATIONS:
        held = lua.standings(MARKET, name)
        assert held == python.standings(MARKET, name), name
        assert sum(account.standing for account in held.values()) == 0, name
    assert lua.open_counts(MARKET) == python.open_counts(MARKET)
    assert _used(lua.uses(MARKET)) == _used(python.uses(MARKET))


def _used(uses: Mapping[str, Mapping[int, int]]) -> dict[str, dict[int, int]]:
    return {name: held for name, its in uses.items() if (held := {b: n for b, n in its.items() if n})}


def _plain(grant: Grant) -> Grant:
    """All that is not the clock."""
    return replace(grant, at_us=0, sights=tuple(grant.sights), stops=dict(grant.stops), uses=tuple(grant.uses))


def _past(ask: Ask, grant: Grant) -> Past:
    """The decision as the ledger keeps it."""
    looked = [c for group in ask.groups[: (grant.group or 0) + 1] for c in group.candidates]
    deciding = ask.groups[grant.group or 0]
    gates = [
        Gate.ELIGIBLE if s.eligible else Gate.QUOTA if s.member in grant.stops else Gate.FULL for s in grant.sights
    ]
    return Past(
        grant.offer, grant.lead, grant.attempt, NOW, MARKET, "pool", deciding.rotation, str(ask.mode), (50_000.0,),
        deciding.ring, 1, grant.seq, grant.member, "chosen",
        [c.member for c in looked], [c.distance_m for c in looked], [c.ring for c in looked],
        [c.weight for c in looked], [c.capacity for c in looked], [c.tier_rank for c in looked],
        [int(gate) for gate in gates], [s.open for s in grant.sights], [s.standing for s in grant.sights],
        [s.served for s in grant.sights], units=ask.units, turn=ask.turn,
    )  # fmt: skip


def _written(past: Past, cursor: int) -> str:
    return json.dumps({**asdict(past), "cursor": cursor}, default=str, sort_keys=True)


def _told(id_: UUID, chosen: int | None, past: Past, cursors: Mapping[str, int]) -> str:
    """What a decision came to, byte for byte: the choice that was made, and the shares the rule gives."""
    verdict = again(past, cursor=cursors.get(past.rotation, 0))
    return f"{id_} {chosen} {sorted(verdict.shares.items())} {verdict.payment}\n"


def make_again(file: Path) -> str:
    """Make every decision of the file again; the digest of what they came to."""
    seen = hashlib.sha256()
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            cursor = row.pop("cursor")
            past = Past(**{**row, "id": UUID(row["id"])})
            verdict = again(past, cursor=cursor)
            told = f"{past.id} {verdict.chosen} {sorted(verdict.shares.items())} {verdict.payment}\n"
            seen.update(told.encode())
    return seen.hexdigest()


def _elsewhere(file: Path) -> str:
    """The same in a process of its own, with other hash seeds, another time zone, locale and directory."""
    here = Path(__file__).parents[2]
    environment = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(here), "PYTHONHASHSEED": "4711"}
    environment |= {"TZ": "Pacific/Chatham", "LC_ALL": "C"}
    command = [sys.executable, "-m", "tests.proofs.same_rule", "--again", str(file)]
    done = subprocess.run(command, cwd=file.parent, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decisions", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--again", type=Path)
    asked = parser.parse_args()
    if asked.again:
        sys.stdout.write(make_again(asked.again) + "\n")
        return
    from workers.embedded import servers  # noqa: PLC0415 - whoever makes decisions again needs no servers

    with tempfile.TemporaryDirectory(prefix="fairturn-proof-") as place, servers(Path(place)) as urls:
        made = prove(asked.decisions, urls.redis_url, seed=asked.seed)
    sys.stdout.write(json.dumps(asdict(made)) + "\n")
    sys.exit(0 if made.holds else 1)


if __name__ == "__main__":
    main()
