"""What the web process reads: built from the settings on first use."""

from functools import cache

from config import celery as celery_config
from config import wiring
from config.accounts import Account, Fairness, PoolAccounts
from config.ops import Ops
from storage.postgres.explain import Explain
from storage.postgres.gates import GateState
from storage.postgres.invariants import Invariant
from storage.postgres.stats import Stats
from storage.postgres.vitals import Vitals

__all__ = ["Account", "Fairness", "PoolAccounts", "explain", "fairness", "gate", "ops", "stats", "vitals"]


@cache
def vitals() -> Vitals:
    return Vitals(wiring.engine())


@cache
def fairness() -> Fairness:
    return Fairness(vitals(), wiring.turnstile())


@cache
def ops() -> Ops:
    return Ops(
        ledger=vitals(),
        turnstile=wiring.turnstile(),
        broker=wiring.broker(),
        queues=celery_config.QUEUES,
        gate=gate,
    )


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
