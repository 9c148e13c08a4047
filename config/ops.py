"""How the whole is doing: what /metrics shows, what /readyz checks, what a process's health check asks."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

from config.metrics import Sample
from routing.errors import ColdTurnstile, FairturnError
from routing.ports import Turnstile
from storage.postgres.gates import GateState
from storage.postgres.policy_reader import NoPolicy, Trouble
from storage.postgres.vitals import Measure

PENDING_AT_MOST_S = 10.0
CANARY_AT_MOST_S = 60.0
_MICRO = 1_000_000


class Vital(Protocol):
    """What is asked of the ledger: storage.postgres.vitals.Vitals."""

    def measures(self) -> list[Measure]: ...
    def busy_rotations(self) -> list[tuple[str, str, int, int]]: ...
    def open_counts(self) -> dict[str, dict[int, int]]: ...


class Depths(Protocol):
    """What is asked of the broker: storage.redis.broker.Broker."""

    def depths(self, queues: tuple[str, ...]) -> dict[str, int]: ...


@dataclass(frozen=True, slots=True)
class Check:
    """One question /readyz asks, with its answer in words."""

    name: str
    ok: bool
    detail: str
    took_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Ops:
    """Asks the parts how they are; a part that does not answer is an answer, too."""

    ledger: Vital
    turnstile: Turnstile
    broker: Depths
    queues: tuple[str, ...]
    gate: Callable[[], GateState] | None = None  # None where no Salesforce is set
    policy: Callable[[], Trouble | None] = lambda: None  # what is wrong with the policy in force

    def samples(self) -> list[Sample]:
        """Every gauge of the catalogue that can be read now."""
        found: list[Sample] = []
        parts = {
            "ledger": lambda: [*self._of_ledger(), *self._of_gate()],
            "turnstile": self._of_turnstile,
            "broker": self._of_broker,
        }
        for part, read in parts.items():
            try:
                found += read()
            except FairturnError:
                found.append(Sample("fairturn_up", 0, {"part": part}))
            else:
                found.append(Sample("fairturn_up", 1, {"part": part}))
        return found

    def checks(self) -> list[Check]:
        """Whether this installation can route a lead now; each check says what it found and what to do."""
        measures: list[Measure] = []

        def ledger_answers() -> str:
            measures.extend(self.ledger.measures())
            return "answers"

        ledger = _timed("ledger", ledger_answers)
        broker = _timed("broker", self._broker_answers)
        turnstile = _timed("turnstile", self._turnstile_answers)
        late = _backlog(measures) if ledger.ok else Check("backlog", ok=False, detail="the ledger does not answer")
        policy = _timed("policy", self._policy_goes_on)
        return [ledger, turnstile, broker, policy, late, *self._canaries(measures)]

    def _policy_goes_on(self) -> str:
        """Leads are routed also while the policy in force cannot be read: by the last good one, and that is said."""
        trouble = self.policy()
        return trouble.told if trouble else "is read"

    def _canaries(self, measures: Iterable[Measure]) -> list[Check]:
        ages = heartbeats(measures)
        return [canary(queue, ages.get(f"queue:{queue}")) for queue in self.queues]

    def _of_ledger(self) -> list[Sample]:
        found = [Sample(f"fairturn_{m.name}", m.value, m.labels) for m in self.ledger.measures()]
        try:
            unread = float(self.policy() is not None)
        except NoPolicy:
            unread = 1.0
        return [*found, Sample("fairturn_policy_unreadable", unread)]

    def _of_gate(self) -> list[Sample]:
        if self.gate is None:
            return []
        state = self.gate()
        found = [
            Sample("fairturn_salesforce_paused", float(bool(state.because))),
            *(Sample("fairturn_salesforce_api_calls", n, {"whose": purpose}) for purpose, n in state.own.items()),
            Sample("fairturn_salesforce_api_calls", sum(state.own.values()), {"whose": "own"}),
        ]
        ceilings = {"org": (state.used, state.ceiling), "own": (sum(state.own.values()), state.own_ceiling)}
        for whose, (used, ceiling) in ceilings.items():
            if ceiling is not None and used is not None:
                found.append(Sample("fairturn_salesforce_api_ceiling", ceiling, {"whose": whose}))
        if state.used is not None:
            found.append(Sample("fairturn_salesforce_api_calls", state.used, {"whose": "org"}))
        return found

    def _of_turnstile(self) -> list[Sample]:
        found = []
        for market, held in self.ledger.open_counts().items():
            with _cold_is_fine():
                seen = self.turnstile.open_counts(market)
                drift = sum(abs(seen.get(member, 0) - held.get(member, 0)) for member in seen.keys() | held.keys())
                found.append(Sample("fairturn_capacity_drift_offers", drift, {"market": market}))
        for market, rotation, turn, added in self.ledger.busy_rotations():
            with _cold_is_fine():
                accounts = self.turnstile.standings(market, rotation).values()
                worst = max((abs(account.standing) for account in accounts), default=0) / _MICRO
                labels = {"market": market, "rotation": rotation}
                found.append(Sample("fairturn_worst_standing_turns", worst, labels))
                found.append(Sample("fairturn_largest_turn", turn / _MICRO, labels))
                found.append(Sample("fairturn_corrections_added_turns", added / _MICRO, labels))
        return found

    def _of_broker(self) -> list[Sample]:
        depths = self.broker.depths(self.queues)
        return [Sample("fairturn_queue_messages", depth, {"queue": queue}) for queue, depth in depths.items()]

    def _broker_answers(self) -> str:
        return f"{sum(self.broker.depths(self.queues).values())} messages wait"

    def _turnstile_answers(self) -> str:
        for market in self.ledger.open_counts() or {"": {}}:
            try:
                self.turnstile.open_counts(market)
            except ColdTurnstile:
                return "answers; will be rebuilt from the ledger by the next decision"
        return "answers"


def canary(queue: str, age_s: float | None) -> Check:
    """Whether a worker took a message of this queue lately."""
    if age_s is None:
        return Check(f"queue:{queue}", ok=False, detail="no worker has taken a canary yet; start worker and beat")
    fresh = age_s <= CANARY_AT_MOST_S
    fix = "" if fresh else f", more than {CANARY_AT_MOST_S:g} s; restart its workers, look whether beat runs"
    return Check(f"queue:{queue}", ok=fresh, detail=f"a worker took a canary {age_s:.0f} s ago{fix}")


def heartbeats(measures: Iterable[Measure]) -> Mapping[str, float]:
    """The age of each heartbeat in seconds, by name."""
    return {m.labels["name"]: m.value for m in measures if m.name == "heartbeat_age_seconds"}


def _backlog(measures: Iterable[Measure]) -> Check:
    age = next((m.value for m in measures if m.name == "events_oldest_pending_seconds"), 0.0)
    ok = age < PENDING_AT_MOST_S
    fix = "" if ok else f", more than {PENDING_AT_MOST_S:g} s; look at the workers of queue leads"
    return Check("backlog", ok=ok, detail=f"the oldest event waits {age:.1f} s{fix}")


@contextmanager
def _cold_is_fine() -> Iterator[None]:
    """A turnstile that awaits its rebuild has nothing to say, and is not down."""
    try:
        yield
    except ColdTurnstile:
        return


def _timed(name: str, ask: Callable[[], str]) -> Check:
    start = perf_counter()
    try:
        detail = ask()
    except FairturnError as exc:
        return Check(name, ok=False, detail=str(exc), took_ms=_ms(start))
    return Check(name, ok=True, detail=detail, took_ms=_ms(start))


def _ms(start: float) -> float:
    return round((perf_counter() - start) * 1000, 1)
