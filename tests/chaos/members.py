"""Members who answer their offers through the API while everything is shot at, as their apps would, and note it all.

They see their offers by plain SQL, as a phone knows them that was told in time, and answer over HTTP alone. An answer
whose fate is unknown (the connection broke, the service was unwell) is given again under the same Idempotency-Key until
something is known.
"""

import heapq
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import psycopg
import requests

from tests.chaos.history import History
from tests.chaos.ledger import LedgerView, Row

LANES = 2
LOOK_S = 1.0
AGAIN_S = 1.0
#: Nothing is known yet: another process is at it, the service is unwell, or we ask too often.
LATER = frozenset({"idempotency-key-in-use", "too-many-requests"})
REASONS: Mapping[str, Sequence[str]] = {
    "reject": ("too_far", "no_capacity", "other"),
    "lose": ("no_contact", "too_expensive"),
    "return": ("unreachable", "duplicate", "not_interested"),
    "extend": ("appointment_made", "other"),
}
#: What a member does with an offer it looks at, by weight. The rest is left alone for good, or until its deadline.
NEW = {"accept": 44, "reject": 18, "twice": 5, "race": 6, "rival": 3, "late": 8, "ignore": 16}
HELD = {"complete": 30, "lose": 14, "return": 12, "extend": 14, "twice": 4, "keep": 26}

OPEN = """
SELECT o.id::text AS offer, m.key AS member, o.state, extract(epoch FROM o.expires_at)::float8 AS expires
FROM offers o JOIN members m ON m.id = o.member_id WHERE o.state IN ('offered', 'accepted') ORDER BY o.id
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer under one Idempotency-Key."""

    key: str
    offer: str
    member: str
    verb: str
    reason: str | None = None
    odd: str = ""  # what is unusual about it


@dataclass(slots=True)
class Members:
    """Everybody who answers; `rate` looks at an offer a second, none when it is 0."""

    url: str
    api_key: str
    ledger: LedgerView
    history: History
    seed: int
    rate: float
    over: threading.Event = field(default_factory=threading.Event)
    _left: set[str] = field(default_factory=set)  # offers left alone, as they were when they were looked at
    _seen: Sequence[Row] = ()
    _looked: float = 0.0
    _again: list[tuple[float, int, Answer]] = field(default_factory=list)
    _late: list[tuple[float, int, Answer]] = field(default_factory=list)  # not begun, so nobody misses them
    _order: Iterator[int] = field(default_factory=count)
    _flying: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _lanes: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        if self.rate:
            self._lanes = [threading.Thread(target=self._live, args=(n,), daemon=True) for n in range(LANES)]
            for lane in self._lanes:
                lane.start()

    def idle(self) -> bool:
        """Whether every answer given has a known outcome."""
        with self._lock:
            return not self._again and not self._flying

    def finish(self, within_s: float) -> None:
        """Begin nothing new; return when all that was begun is known, or after so long."""
        self.over.set()
        for lane in self._lanes:
            lane.join(max(0.0, within_s))

    def _live(self, number: int) -> None:
        dice = random.Random(f"{self.seed} members {number}")
        with requests.Session() as session:
            session.trust_env = False
            while not (self.over.is_set() and self.idle()):
                due = self._due()
                if due is not None:
                    self._send(session, due)
                elif self.over.wait(dice.uniform(0.5, 1.5) * LANES / self.rate):
                    time.sleep(0.05)
                else:
                    self._act(session, dice)

    # --- what to do

    def _act(self, session: requests.Session, dice: random.Random) -> None:
        row = self._pick(dice)
        if row is None:
            return
        choices = NEW if row["state"] == "offered" else HELD
        [verb] = dice.choices(list(choices), weights=list(choices.values()))
        match verb:
            case "ignore" | "keep":
                self._leave(row)
            case "late":
                self._leave(row)
                in_s = row["expires"] - time.time() + dice.uniform(-0.02, 1.0)
                self._put(self._late, self._answer(dice, row, "accept", odd="late"), in_s)
            case "race":  # two phones of one member, and a key each
                one = self._answer(dice, row, "accept", odd="race")
                other = self._answer(dice, row, dice.choice(["accept", "reject"]), odd="race")
                self._both(session, one, other)
            case "twice":  # one phone whose owner tapped twice
                same = self._answer(dice, row, "accept" if row["state"] == "offered" else "complete", odd="twice")
                self._both(session, same, same)
            case "rival":
                others = sorted({other["member"] for other in self._seen} - {row["member"]})
                if others:
                    rival = self._answer(dice, row | {"member": dice.choice(others)}, "accept", odd="rival")
                    self._both(session, rival, self._answer(dice, row, "accept"))
            case _:
                self._begin(session, self._answer(dice, row, verb))

    def _pick(self, dice: random.Random) -> Row | None:
        if time.monotonic() - self._looked >= LOOK_S:
            self._looked = time.monotonic()
            try:
                self._seen = self.ledger.rows(OPEN)
            except psycopg.Error:
                return None
        fresh = [row for row in self._seen if row["offer"] + row["state"] not in self._left]
        return dice.choice(fresh) if fresh else None

    def _leave(self, row: Row) -> None:
        self._left.add(row["offer"] + row["state"])

    def _answer(self, dice: random.Random, row: Row, verb: str, *, odd: str = "") -> Answer:
        reason = dice.choice(REASONS[verb]) if verb in REASONS else None
        return Answer(f"{dice.getrandbits(96):024x}", row["offer"], row["member"], verb, reason, odd)

    # --- giving answers

    def _begin(self, session: requests.Session, answer: Answer) -> None:
        with self._lock:
            self._flying += 1
        self._send(session, answer)

    def _both(self, session: requests.Session, one: Answer, other: Answer) -> None:
        """At the same moment, over connections of their own."""
        with self._lock:
            self._flying += 1

        def elsewhere() -> None:
            with requests.Session() as second:
                second.trust_env = False
                self._send(second, other)

        thread = threading.Thread(target=elsewhere, daemon=True)
        thread.start()
        self._begin(session, one)
        thread.join()

    def _send(self, session: requests.Session, answer: Answer) -> None:
        facts = {"key": answer.key, "offer": answer.offer, "member": answer.member, "verb": answer.verb}
        sent = self.history.note("member", "answer", **facts, reason=answer.reason, odd=answer.odd)
        status, problem = self._post(session, answer)
        known = status not in {0, 503} and problem not in LATER
        told = {"status": status, "problem": problem, "sent": sent, "reason": answer.reason, "odd": answer.odd}
        self.history.note("member", "answered" if known else "unknown", **facts, **told)
        if not known:
            self._put(self._again, answer, AGAIN_S)
        with self._lock:
            self._flying -= 1

    def _post(self, session: requests.Session, answer: Answer) -> tuple[int, str]:
        """Status and type of problem; 0 and what broke when nobody answered."""
        headers = {
            "Authorization": f"Bearer {self.api_key}",
            "Fairturn-Member": answer.member,
            "Idempotency-Key": answer.key,
        }
        body: dict[str, Any] = {} if answer.reason is None else {"json": {"reason": answer.reason}}
        try:
            said = session.post(
                f"{self.url}/api/v1/offers/{answer.offer}/{answer.verb}", headers=headers, timeout=10, **body
            )
            problem = "" if said.ok else str(said.json()["type"]).rpartition("/")[2].rpartition(":")[2]
        except (requests.RequestException, ValueError, KeyError) as exc:
            return 0, type(exc).__name__
        return said.status_code, problem

    def _put(self, where: list[tuple[float, int, Answer]], answer: Answer, in_s: float) -> None:
        with self._lock:
            heapq.heappush(where, (time.monotonic() + max(0.0, in_s), next(self._order), answer))

    def _due(self) -> Answer | None:
        """What is to be given now, counted as flying."""
        with self._lock:
            for waiting in (self._again, [] if self.over.is_set() else self._late):
                if waiting and waiting[0][0] <= time.monotonic():
                    self._flying += 1
                    return heapq.heappop(waiting)[2]
        return None
