"""The turnstile in Redis or Valkey: one script a promise, all keys of a market in one slot."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID, uuid4

from routing.decision import Ask, Grant
from routing.errors import ColdTurnstile
from routing.ports import Mark, Pending, Snapshot, Standing
from storage.redis import scripts
from storage.redis.client import Client, connect, in_our_words
from storage.redis.keys import PROBE, MarketKeys
from storage.redis.records import Answer, Argument, lead_and_attempt, pack_ask, reservation_id, unpack_grant

CHUNK = 5_000  # fields of one command while a snapshot is staged
STAGED_S = 600  # what a rebuild that died has staged goes by itself

T = TypeVar("T")


class RedisTurnstile:
    """Keeps the promises of routing.ports.Turnstile. Safe to share between threads; opened anew after a fork.

    `at` is a URL, or a client that returns bytes, of a cluster too.
    """

    def __init__(self, at: str | Client) -> None:
        self._redis = connect(at) if isinstance(at, str) else at
        names = ("reserve", "settle", "release", "pending", "switch")
        self._scripts = {name: scripts.bind(name, self._redis) for name in names}

    def reserve(
        self, market: str, asks: Sequence[Ask], *, generation: int, release: Sequence[UUID] = ()
    ) -> list[Grant]:
        """Free the released offers, then give each Ask a member with room, in order; atomic, one round trip.

        An answer with nobody reserves nothing and is not remembered: asked again, there may be room.
        Up to 100 asks at once keep the server's other clients waiting for a few milliseconds only.
        """
        arguments: list[Argument] = [generation, len(release), len(asks), *(offer.hex for offer in release)]
        for ask in asks:
            arguments += pack_ask(ask)
        answers, positions = self._run("reserve", MarketKeys(market).all, arguments)
        repeated = frozenset(positions)
        return [
            unpack_grant(ask.lead, ask.attempt, answer, repeated=number in repeated)
            for number, (ask, answer) in enumerate(zip(asks, answers, strict=True), start=1)
        ]

    def settle(
        self, market: str, *, keep: Sequence[tuple[int, int]] = (), cancel: Sequence[tuple[int, int]] = ()
    ) -> None:
        """Forget reservations by (lead, attempt): kept ones are in the ledger now, cancelled ones are undone whole.

        Unknown ones are left alone, so a cold turnstile, which knows none, is no error here.
        """
        arguments: list[Argument] = [len(keep), *(reservation_id(*one) for one in (*keep, *cancel))]
        self._run("settle", MarketKeys(market).all, arguments)

    def release(self, market: str, offers: Sequence[UUID]) -> None:
        """Free the places these offers hold; those that hold none are left alone."""
        self._run("release", MarketKeys(market).all, [offer.hex for offer in offers])

    def rebuild(self, market: str, snapshot: Snapshot) -> None:
        """Replace everything held for the market by the snapshot, at once; safe to repeat.

        The snapshot is staged beside the live keys, then one script puts it in their place. Staged keys that the
        server lost half way raise ColdTurnstile, and the live ones stay; so does a live generation as high as ours.
        """
        live, staged = MarketKeys(market), MarketKeys(market, staging=uuid4().hex)
        rotations = set(snapshot.standings) | set(snapshot.ticks) | set(snapshot.cursors)
        with in_our_words():
            self._stage(staged, snapshot, rotations)
        accounts = ((name, len(members)) for name, members in snapshot.standings.items() if members)
        counts: list[Argument] = [snapshot.generation, snapshot.seq, len(snapshot.open_offers), len(rotations)]
        for name, members in accounts:
            counts += [name, members]
        self._run("switch", [*live.all, *staged.all], counts)

    def pending(self, market: str, *, older_than_s: float) -> list[Pending]:
        """Reservations that were not settled within that time, oldest first."""
        now, *found = self._run("pending", MarketKeys(market).all, [int(older_than_s * 1e6)])
        pairs = zip(found[::2], found[1::2], strict=True)
        return [_pending(reservation, Answer.of(packed), int(now)) for reservation, packed in pairs]

    def standings(self, market: str, rotation: str) -> dict[int, Standing]:
        """The accounts of one rotation; a member with nothing in its account may be absent."""
        keys = MarketKeys(market)
        standing, served = self._read(keys, keys.standing(rotation), keys.served(rotation))
        found = {m: Standing(standing.get(m, 0), served.get(m, 0)) for m in standing.keys() | served.keys()}
        return {member: account for member, account in found.items() if account != Standing(0, 0)}

    def open_counts(self, market: str) -> dict[int, int]:
        """How many offers each member holds; those that hold none are absent."""
        keys = MarketKeys(market)
        (counts,) = self._read(keys, keys.open)
        return counts

    def mark(self, market: str) -> Mark:
        """How far the turnstile is in this market; zeros when it holds nothing."""
        with in_our_words():
            held: list[Any] = self._redis.hmget(MarketKeys(market).state, ["generation", "seq"])
        return Mark(*(int(one or 0) for one in held))

    def probe(self) -> None:
        """Raise TurnstileUnreachable unless the server answers and takes a write."""
        with in_our_words():
            self._redis.set(PROBE, 1, px=1000)

    def close(self) -> None:
        """Give the connections back; the next call opens new ones."""
        self._redis.close()

    def _run(self, name: str, keys: list[str], arguments: Sequence[Argument]) -> Any:
        with in_our_words():
            return self._scripts[name](keys=keys, args=arguments)

    def _read(self, keys: MarketKeys, *hashes: str) -> list[dict[int, int]]:
        """These hashes of whole numbers, at one instant. Raises ColdTurnstile when there is no generation."""
        with in_our_words(), self._redis.pipeline(transaction=True) as pipe:
            pipe.hexists(keys.state, "generation")
            for name in hashes:
                pipe.hgetall(name)
            warm, *found = pipe.execute()
        if not warm:
            raise ColdTurnstile(market=keys.market)
        return [{int(field): int(value) for field, value in one.items()} for one in found]

    def _stage(self, staged: MarketKeys, snapshot: Snapshot, rotations: set[str]) -> None:
        held = Counter(snapshot.open_offers.values())
        self._put(staged.offers, {offer.hex: member for offer, member in snapshot.open_offers.items()})
        self._put(staged.open, {str(member): count for member, count in held.items()})
        self._put(staged.ticks, {name: snapshot.ticks.get(name, 0) for name in rotations})
        self._put(staged.cursors, {name: snapshot.cursors.get(name, 0) for name in rotations})
        for name, members in snapshot.standings.items():
            self._put(staged.standing(name), {str(m): account.standing for m, account in members.items()})
            self._put(staged.served(name), {str(m): account.served for m, account in members.items()})

    def _put(self, key: str, fields: Mapping[str, int]) -> None:
        for chunk in _chunks(fields.items(), CHUNK):
            with self._redis.pipeline(transaction=False) as pipe:
                pipe.hset(key, mapping=dict(chunk))
                pipe.expire(key, STAGED_S)
                pipe.execute()


def _pending(reservation: bytes, answer: Answer, now_us: int) -> Pending:
    lead, attempt = lead_and_attempt(reservation)
    return Pending(lead, attempt, answer.offer, answer.member, (now_us - answer.at_us) / 1e6)


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
