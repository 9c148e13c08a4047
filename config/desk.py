"""What the web process reads: built from the settings on first use."""

from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from uuid import UUID

from config import celery as celery_config
from config import settings, wiring
from config.accounts import Account, Fairness, PoolAccounts, shared_by
from config.ops import Ops
from config.standing import OwnStandings
from routing.policy import Answering
from storage.postgres.devices import Devices
from storage.postgres.explain import Explain
from storage.postgres.followed import RotationFairness
from storage.postgres.gates import GateState
from storage.postgres.invariants import Invariant
from storage.postgres.partner import Partner
from storage.postgres.policy_reader import NoPolicy, Trouble
from storage.postgres.quotas import Quotas
from storage.postgres.record import Record
from storage.postgres.replays import Replays
from storage.postgres.stats import Stats
from storage.postgres.team import Team
from storage.postgres.vitals import Vitals
from storage.redis.buckets import Buckets

__all__ = ["Account", "Fairness", "PoolAccounts", "explain", "fairness", "gate", "ops", "stats", "vitals"]


@cache
def vitals() -> Vitals:
    return Vitals(wiring.engine(), sealing=settings.load().seal_every_s > 0)


@cache
def fairness() -> Fairness:
    return Fairness(vitals(), wiring.turnstile())


def followed(pool: str) -> list[RotationFairness]:
    """How far everyone is, and ever was, from what is due to it."""
    shared = ("", "")
    with suppress(NoPolicy):
        shared = shared_by(pool, wiring.ledger().published().pools)
    return wiring.followed().of(pool, shared=shared)


def fair_turns() -> list[RotationFairness]:
    """The same of each rotation as a whole, naming nobody."""
    return wiring.followed().summary()


@cache
def ops(*, tell: bool = True) -> Ops:
    return Ops(
        ledger=vitals(),
        turnstile=wiring.turnstile(),
        broker=wiring.broker(),
        queues=celery_config.QUEUES,
        gate=gate,
        policy=policy_trouble if tell else wiring.ledger().policy_trouble,
    )


def policy_trouble() -> Trouble | None:
    """What is wrong with the policy in force; the log has it as well, also where no lead was decided since."""
    return wiring.ledger().policy_trouble(tell=True)


def gate() -> GateState:
    """Whether Salesforce may be called, and what its API calls come to."""
    return wiring.gate().state()


@cache
def explain() -> Explain:
    return Explain(wiring.engine())


def invariants() -> list[Invariant]:
    """What must never be, and how often it was seen."""
    return wiring.invariants().all()


@cache
def stats() -> Stats:
    return Stats(wiring.engine())


@cache
def partner() -> Partner:
    return Partner(wiring.engine())


@cache
def replays() -> Replays:
    return Replays(wiring.engine())


@cache
def buckets() -> Buckets:
    return Buckets(settings.load().turnstile())


def answering() -> Mapping[str, Answering]:
    """How offers are answered, by pool, as the published policy says."""
    return {pool.name: pool.answering for pool in wiring.ledger().published().pools}


@cache
def team() -> Team:
    return Team(wiring.engine())


@cache
def standings() -> OwnStandings:
    return OwnStandings(
        record=Record(wiring.engine()),
        team=team(),
        turnstile=wiring.turnstile,
        allowance=lambda member: wiring.answers().allowance(member),
        policy=lambda: wiring.ledger().published(),
        quotas=Quotas(wiring.engine()).left,
    )


def devices() -> Devices | None:
    """Where people take web push; None where nobody is told anything."""
    return wiring.devices() if wiring.tells() else None


def opened(offer: UUID, member: int, person: UUID) -> None:
    """A person has seen the offer: it need not be told of it by further ways."""
    if wiring.tells():
        wiring.deliveries().opened(offer, member=member, person=person)
