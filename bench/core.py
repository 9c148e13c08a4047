"""The routing core: leads with a place, planned, ranked by fairness and reserved; the ledger's writing left out.

It is `Dispatcher.route` as the product calls it, on the real turnstile, with a ledger that keeps the batch's rows in
memory and takes what is decided without writing it. Settling with the turnstile, which follows the commit, is done
off the clock; the servers' CPU time has it in.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import UUID

import redis

from bench import people
from bench.meter import Lane
from bench.servers import Base
from config import wiring
from routing.batch import Known, Market, Saved
from routing.dispatcher import Dispatcher, Stand
from routing.lead import Lead, Point, Precision, Reason
from routing.plan import Verdict
from routing.policy import Policy
from routing.ruling import Aside, Gift
from storage.redis.turnstile import RedisTurnstile

BATCH = 100
#: On a busy machine the servers are waited for, longer than the product would.
PATIENCE_S = 60.0
#: Candidates are counted in one batch of so many.
LOOK = 5


class PaperBatch:
    """A batch whose leads come out of memory, and whose decisions go nowhere."""

    def __init__(self, leads: Sequence[Lead], policy_version: int, market: Market) -> None:
        self.leads = tuple(leads)
        self.policy_version = policy_version
        self.markets = {market.name: market}

    def known(self, policy: Policy) -> Known:  # noqa: ARG002 - they were made with all that rules may ask
        """What the leads were made with."""
        return Known(datetime.now(UTC), {lead.id: lead.facts for lead in self.leads})

    def save(
        self,
        verdicts: Sequence[Verdict],
        *,
        refused: Sequence[tuple[Lead, Reason]] = (),
        asides: Sequence[Aside] = (),
        gifts: Sequence[tuple[UUID, Gift]] = (),
    ) -> Saved:
        """Keep all."""
        assert not refused
        assert not asides
        assert not gifts
        return Saved(tuple(verdicts), ())


class PaperLedger:
    """The real ledger, but for the batches."""

    def __init__(self, base: Base, leads: dict[int, Lead], change: Callable[[Policy], Policy] | None = None) -> None:
        self._base = base
        self._leads = leads
        self._change, self._changed = change, dict[int, Policy]()
        self.stand = base.ledger.standing_at(base.market)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._base.ledger, name)

    def policy(self, version: int) -> Policy:
        """The real one, changed as the run wants it."""
        if version not in self._changed:
            real = self._base.ledger.policy(version)
            self._changed[version] = self._change(real) if self._change else real
        return self._changed[version]

    def standing_at(self, market: str) -> Stand:  # noqa: ARG002 - there is one
        """What a lead that begins to wait is compared with after the commit: nothing has changed on paper."""
        return self.stand

    @contextmanager
    def batch(self, ids: Sequence[int], **_: Any) -> Iterator[PaperBatch]:
        """These leads, under the versions that were read once."""
        market = Market(self._base.market, self.stand.roster_version, self.stand.generation)
        yield PaperBatch([self._leads[i] for i in ids], self.stand.policy_version, market)


class LateSettling:
    """The real turnstile; what is to be settled waits until it is told to."""

    def __init__(self, turnstile: RedisTurnstile) -> None:
        self._turnstile = turnstile
        self._late: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._turnstile, name)

    def settle(self, market: str, **what: Any) -> None:
        """Remember it."""
        self._late.append((market, what))

    def flush(self) -> None:
        """Settle what waits."""
        for market, what in self._late:
            self._turnstile.settle(market, **what)
        self._late.clear()


class Core:
    """Batches of leads on one base, routed again and again as new ones."""

    def __init__(
        self,
        base: Base,
        redis_url: str,
        place: Callable[[random.Random], Point],
        *,
        leads: int,
        change: Callable[[Policy], Policy] | None = None,
        facts: Callable[[random.Random], Mapping[str, object]] = lambda _: {},
    ) -> None:
        dice = random.Random(2)
        numbers = count(1)
        now = datetime.now(UTC)
        made = [
            Lead(
                id=next(numbers),
                received_at=now,
                country="US",
                place=place(dice),
                precision=Precision.EXACT,
                facts=facts(dice),
            )
            for _ in range(leads)
        ]
        self._ids = [lead.id for lead in made]
        self._at = 0
        self.turnstile = LateSettling(RedisTurnstile(redis.Redis.from_url(redis_url, socket_timeout=PATIENCE_S)))
        ledger = PaperLedger(base, {lead.id: lead for lead in made}, change)
        self._dispatcher = Dispatcher(ledger=ledger, turnstile=self.turnstile, new_id=wiring.new_id)
        self._dispatcher.rebuild(base.market)
        ledger.stand = base.ledger.standing_at(base.market)
        self.offered = 0
        self._steps = 0
        self._seen: list[int] = []

    def step(self) -> int:
        """Route the next batch."""
        ids = self._ids[self._at : self._at + BATCH]
        self._at = (self._at + BATCH) % len(self._ids)
        routed = self._dispatcher.route(ids)
        self.offered += routed.offered
        self._last = routed
        return len(ids)

    def candidates(self) -> float:
        """How many members the deciding ring of a lead held, on average."""
        return round(sum(self._seen) / max(1, len(self._seen)), 1)

    def lane(self, name: str) -> Lane:
        """A lane of a run that works this core."""
        return Lane(name, self.step, settle=self._after)

    def _after(self) -> None:
        self.turnstile.flush()
        if self._steps % LOOK == 0:
            decisions = [verdict.decision for verdict in self._last.verdicts]
            self._seen += [sum(w.ring == d.ring for w in d.weighed) for d in decisions if d.ring is not None]
        self._steps += 1

    def close(self) -> None:
        """Give the connections back."""
        self.turnstile.close()


def american(base: Base, redis_url: str, *, leads: int = 4000) -> Core:
    """Leads spread as the members are: like the population of the United States."""
    return Core(base, redis_url, people.american, leads=leads)


def even(base: Base, redis_url: str, members: int, together: int, *, leads: int = 4000, **more: Any) -> Core:
    """Leads at the sites of evenly spread members."""
    places = people.sites(members, together)
    return Core(base, redis_url, lambda dice: people.at_sites(places, dice), leads=leads, **more)
