"""Every key of ours in Redis, with its type and meaning.

All keys of one market carry the hash tag {market}: on a cluster they live in one slot, and one script may use them all.
An ACL user for the turnstile needs the patterns `turnstile:*` and `rate:*`, and the command INFO.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MarketKeys:
    """The names of one market's keys, live or staged for a rebuild."""

    market: str
    staging: str = ""  # a token; staged keys wait under it until the switch

    def _name(self, what: str) -> str:
        place = f"staged:{self.staging}:" if self.staging else ""
        return f"turnstile:{{{self.market}}}:{place}{what}"

    @property
    def state(self) -> str:
        """HASH: generation, seq (of the last answer), at_us (its clock), run_id (of the server that was loaded), slots.

        `slots` is a token that changes with the order of members.
        """
        return self._name("state")

    @property
    def probe(self) -> str:
        """STRING: written to see whether the market's server takes writes; gone a second later."""
        return self._name("probe")

    @property
    def offers(self) -> str:
        """HASH: offer (32 hex digits) -> whose place it holds (member, slot), and its units when more than one; i4."""
        return self._name("offers")

    @property
    def open(self) -> str:
        """HASH: page of slots -> how many units each holds (i4 a slot); in step with `offers`."""
        return self._name("open")

    @property
    def reservations(self) -> str:
        """HASH: lead and attempt (i8, i4) -> what was reserved, packed (see scripts/shared.lua); gone once settled."""
        return self._name("reservations")

    @property
    def corrections(self) -> str:
        """HASH: correction (32 hex digits) -> what it moved, packed (see scripts/correct.lua); gone once settled."""
        return self._name("corrections")

    @property
    def order(self) -> str:
        """STRING: the member in each slot (i4). The state's field `slots` changes with it."""
        return self._name("order")

    @property
    def ticks(self) -> str:
        """HASH: rotation -> turns given so far; it names every rotation there is."""
        return self._name("ticks")

    @property
    def cursors(self) -> str:
        """HASH: rotation -> member served last."""
        return self._name("cursors")

    def standing(self, rotation: str = "") -> str:
        """HASH per rotation: page -> standings in micro-turns (f8 a slot). Without one: the stem of those names."""
        return self._name(f"standing:{rotation}")

    def served(self, rotation: str = "") -> str:
        """HASH per rotation: page -> ticks of last turns (f8 a slot). Without one: the stem of those names."""
        return self._name(f"served:{rotation}")

    @property
    def uses(self) -> str:
        """HASH: counter of a limit -> units used by bucket, packed (see scripts/shared.lua); old buckets drop out."""
        return self._name("uses")

    @property
    def all(self) -> list[str]:
        """KEYS[1..9] of every script: seven keys and two stems, in this order."""
        fixed = [self.state, self.offers, self.open, self.reservations, self.order, self.ticks, self.cursors]
        return [*fixed, self.standing(), self.served()]

    @property
    def with_uses(self) -> list[str]:
        """KEYS[1..10] of the scripts that count in limits."""
        return [*self.all, self.uses]

    @property
    def with_corrections(self) -> list[str]:
        """KEYS[1..10] of the scripts about corrections."""
        return [*self.all, self.corrections]


def rate(name: str) -> str:
    """STRING: the next free slot of one rate limit, in microseconds since 1970."""
    return f"rate:{{{name}}}"
