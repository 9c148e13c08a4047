"""The geocoders in their order, behind one cache and one rate for all workers."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from gateways.geocoding.address import digest
from gateways.geocoding.offline import Offline
from gateways.geocoding.online import Online
from routing.errors import BadInput, GiveUp, TryLater
from routing.lead import Address, Located, Precision

log = logging.getLogger(__name__)

#: A provider that was unwell is left alone for so long.
REST_S = 10.0
#: The first providers leave so much of an address's time for those behind them.
_SHARE = 0.6
_COARSE = frozenset({Precision.REGION, Precision.COUNTRY})


class Cache(Protocol):
    """What was found before, by digest of the address; shared by all workers."""

    def get_many(self, digests: Sequence[bytes], providers: Sequence[str]) -> dict[bytes, Located | None]:
        """What these providers said and is not too old; None where they did not know the address."""
        ...

    def claim(self, digest: bytes, providers: Sequence[str]) -> bool:
        """Whether the caller is the one to ask; False while another is asking, or an answer is there."""
        ...

    def put_many(self, found: Mapping[bytes, Located | None], providers: Sequence[str]) -> None:
        """Remember answers; this ends the claims."""
        ...

    def abandon(self, digest: bytes) -> None:
        """End a claim without an answer, so that the next may ask."""
        ...


class Limiter(Protocol):
    """One rate for all workers."""

    def acquire(self, name: str, per_s: float, timeout_s: float) -> bool:
        """Wait for a slot; False when none comes within the timeout."""
        ...


Provider = Offline | Online
#: A place, None (nobody knows the address), or why nobody could say.
Answer = Located | None | TryLater | GiveUp


@dataclass(slots=True)
class _Batch:
    """One call: what the cache knew, and until when providers may be asked."""

    known: dict[bytes, Located | None]
    ends_at: float
    answers: dict[bytes, Answer] = field(default_factory=dict)


class Chain:
    """A Geocoder: the first provider that knows an address answers; the answer says which it was.

    One address takes `timeout_s` at most, however many providers fail; a batch stops asking after `patience_s`.
    """

    def __init__(
        self,
        providers: Sequence[Provider],
        cache: Cache,
        limiter: Limiter,
        *,
        timeout_s: float = 3.0,
        rate_per_s: float = 1.0,
        patience_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        told: Callable[[str, bool], object] = lambda _provider, _well: None,
    ) -> None:
        """`told` hears after each question to an online provider whether it was well."""
        self._providers = tuple(providers)
        self._remote = tuple(p.name for p in providers if isinstance(p, Online))
        self._cache, self._limiter = cache, limiter
        self._timeout_s, self._rate_per_s, self._patience_s = timeout_s, rate_per_s, patience_s
        self._clock, self._sleep, self._told = clock, sleep, told
        self._resting: dict[str, float] = {}

    @property
    def is_local(self) -> bool:
        """Whether places are found without asking anybody."""
        return not self._remote

    def warm(self) -> None:
        """Load local data now rather than at the first question."""
        for provider in self._providers:
            if isinstance(provider, Offline):
                provider.warm()

    def locate(self, addresses: Sequence[Address]) -> list[Located | None]:
        """A place per address, None where nobody knows it. Raises TryLater or GiveUp when one could not be asked for.

        What was found before the error is remembered: asked again, the rest is tried.
        """
        located: list[Located | None] = []
        for answer in self.locate_each(addresses):
            if isinstance(answer, TryLater | GiveUp):
                raise answer
            located.append(answer)
        return located

    def locate_each(self, addresses: Sequence[Address]) -> list[Answer]:
        """As `locate`, with each address's own error in its place."""
        if not self._remote:
            alone = _Batch({}, 0.0)
            places = {address: self._answer(b"", address, alone) for address in dict.fromkeys(addresses)}
            return [places[address] for address in addresses]
        digests = [digest(address) for address in addresses]
        known = self._cache.get_many(sorted(set(digests)), self._remote) if digests else {}
        batch = _Batch(known, self._clock() + self._patience_s)
        for key, address in zip(digests, addresses, strict=True):
            if key not in batch.answers:
                batch.answers[key] = self._answer(key, address, batch)
        return [batch.answers[key] for key in digests]

    def _answer(self, key: bytes, address: Address, batch: _Batch) -> Answer:
        """Local providers answer in their place in the order; all remote ones stand where the first of them stands.

        A place known only to its region waits for somebody who knows better.
        """
        trouble: TryLater | GiveUp | None = None
        coarse: Located | None = None
        asked = False
        for provider in self._providers:
            if isinstance(provider, Offline):
                found: Answer = provider.find(address)
            elif asked:
                continue
            else:
                asked, found = True, self._remembered_or_asked(key, address, batch)
            if isinstance(found, Located) and found.precision not in _COARSE:
                return found
            if isinstance(found, Located):
                coarse = coarse or found
            else:
                trouble = found or trouble
        return trouble or coarse

    def _remembered_or_asked(self, key: bytes, address: Address, batch: _Batch) -> Answer:
        """The remote providers' answer; only one worker at a time asks them for the same address."""
        if key in batch.known:
            return batch.known[key]
        ends_at = self._clock() + self._timeout_s
        pause = 0.02
        while min(ends_at, batch.ends_at) > self._clock():
            if self._cache.claim(key, self._remote):
                return self._asked(key, address, ends_at)
            remembered = self._cache.get_many([key], self._remote)
            if key in remembered:
                return remembered[key]
            self._sleep(pause)
            pause = min(pause * 1.5, 0.25)
        return TryLater("no geocoder could be asked in time")

    def _asked(self, key: bytes, address: Address, ends_at: float) -> Answer:
        """Ask with the claim in hand, and give it back whatever happens."""
        settled = False
        try:
            found = self._ask_in_turn(address, ends_at)
            if not isinstance(found, TryLater | GiveUp):
                self._cache.put_many({key: found}, self._remote)
                settled = True
        finally:
            if not settled:
                self._cache.abandon(key)
        return found

    def _ask_in_turn(self, address: Address, ends_at: float) -> Answer:
        remote = [p for p in self._providers if isinstance(p, Online)]
        trouble: TryLater | GiveUp | None = None
        for provider in remote:
            left = ends_at - self._clock()
            try:
                found = self._ask(provider, address, left if provider is remote[-1] else left * _SHARE)
            except (TryLater, GiveUp) as exc:
                log.warning("geocoder %s: %s", provider.name, exc)
                trouble = trouble if isinstance(trouble, TryLater) else exc
                continue
            if found:
                return found
        return trouble

    def _ask(self, provider: Online, address: Address, timeout_s: float) -> Located | None:
        """One question within the time and the rate. Raises TryLater or GiveUp."""
        ends_at = self._clock() + timeout_s
        if self._resting.get(provider.name, 0.0) > self._clock():
            raise TryLater(f"{provider.name} rests after an error", provider=provider.name)
        if timeout_s <= 0 or not self._limiter.acquire(provider.name, self._rate_per_s, timeout_s):
            raise TryLater(f"{provider.name} has no free slot at {self._rate_per_s:g}/s", provider=provider.name)
        try:
            found = provider.find(address, timeout_s=max(ends_at - self._clock(), 0.1))
        except (TryLater, GiveUp):
            self._resting[provider.name] = self._clock() + REST_S
            self._told(provider.name, False)
            raise
        self._told(provider.name, True)
        return found


def providers(
    names: Sequence[str],
    *,
    keys: Sequence[str] = (),
    user_agent: str,
    timeout_s: float,
    nominatim_domain: str = "",
    directory: Path | None = None,
) -> list[Provider]:
    """The geocoders by their names, in order; keys are written `name=key`. Raises BadInput with a fix.

    Local data is kept in the directory.
    """
    by_name: dict[str, str] = {}
    for pair in keys:
        name, sign, key = pair.partition("=")
        if not (name.strip() and sign and key.strip()):
            fix = "Write name=key pairs with commas between them, such as google=AIza...,mapbox=pk...."
            raise BadInput("a pair is not written name=key", field="FAIRTURN_GEOCODER_KEYS", fix=fix)
        by_name[name.strip().casefold()] = key.strip()
    if not names:
        raise BadInput("it names no geocoder", field="FAIRTURN_GEOCODERS", fix="Write offline, or nominatim,offline.")
    made: list[Provider] = []
    for name in dict.fromkeys(name.strip().casefold() for name in names):
        domain = nominatim_domain if name == "nominatim" else ""
        key = by_name.get(name, "")
        made.append(
            Offline(directory=directory)
            if name == Offline.name
            else Online(name, key=key, user_agent=user_agent, domain=domain, timeout_s=timeout_s)
        )
    return made
