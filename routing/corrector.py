"""The verb of corrections: what is owed is carried out by whoever decides now, and written down under its number."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Protocol

from routing.errors import ColdTurnstile, GiveUp, Refused, TurnstileUnreachable
from routing.ports import Turnstile
from routing.turns import Correction, Corrects, Numbered, Uncertain

#: A market is tried again this often when its turnstile turned out cold, wrong or away.
TRIES = 4


class Owed(Protocol):
    """Corrections of one market under lock."""

    @property
    def generation(self) -> int: ...
    @property
    def alone(self) -> Corrects | None:
        """Who carries them out while the turnstile is away."""
        ...

    @property
    def corrections(self) -> Sequence[Correction]: ...

    def save(self, numbered: Sequence[Numbered]) -> None:
        """Write them down; committed when the context is left. Raises Refused for a number that is taken."""
        ...


class CorrectionBook(Protocol):
    """What is asked of the ledger: storage.postgres.corrections.Corrections."""

    def markets(self) -> Sequence[str]: ...

    def owed(self, market: str) -> AbstractContextManager[Owed]: ...

    def judged(self, uncertain: Sequence[Uncertain]) -> tuple[Sequence[Uncertain], Sequence[Uncertain]]:
        """(keep, undo): what the ledger knows, and what never will be; what is owed still is in neither."""
        ...


@dataclass(frozen=True, slots=True)
class Corrector:
    """Carries corrections out, each once whoever dies in between; safe to run twice, and twice at once."""

    book: CorrectionBook
    turnstile: Turnstile
    mend: Callable[[str, int], object]  # rebuild the turnstile of a market that was seen under this generation
    stand_alone: Callable[[str, int], object]  # have the ledger decide alone

    def correct(self) -> int:
        """Carry out everything that is owed; how many there were."""
        return sum(self._market(market) for market in self.book.markets())

    def reap(self, market: str, *, older_than_s: float) -> int:
        """Settle what a crash left between the turnstile and the ledger: the ledger knows, and is asked."""
        uncertain = self.turnstile.uncertain(market, older_than_s=older_than_s)
        if not uncertain:
            return 0
        keep, undo = self.book.judged(uncertain)
        self.turnstile.settle_corrections(
            market, keep=[(one.id, one.seq) for one in keep], undo=[(one.id, one.seq) for one in undo]
        )
        return len(keep) + len(undo)

    def _market(self, market: str) -> int:
        done = 0
        why: Exception | None = None
        for _ in range(TRIES):
            try:
                while count := self._together(market):
                    done += count
            except _Distrusted as exc:
                why = exc.why
                self.mend(market, exc.generation)
            except _Away as exc:
                why = exc.why
                self.stand_alone(market, exc.generation)
            except ColdTurnstile as exc:
                why = exc  # who carries corrections out has changed while we took our locks
            else:
                return done
        raise why or ColdTurnstile(market=market)

    def _together(self, market: str) -> int:
        """One transaction's worth."""
        generation = 0
        try:
            with self.book.owed(market) as owed:
                generation = owed.generation
                if not owed.corrections:
                    return 0
                numbered = self._carried_out(market, owed)
                owed.save(numbered)
        except Refused as exc:  # the turnstile gave a number away that is taken: it was set back
            raise _Distrusted(generation, exc) from exc
        if owed.alone is None:
            with suppress(TurnstileUnreachable, GiveUp):  # then the reaper sees it
                self.turnstile.settle_corrections(market, keep=[(one.id, one.seq) for one in numbered])
        return len(numbered)

    def _carried_out(self, market: str, owed: Owed) -> list[Numbered]:
        try:
            decider = owed.alone or self.turnstile
            return decider.correct(market, owed.corrections, generation=owed.generation)
        except ColdTurnstile as exc:
            raise _Distrusted(owed.generation, exc) from exc
        except (TurnstileUnreachable, GiveUp) as exc:
            raise _Away(owed.generation, exc) from exc


class _Distrusted(Exception):  # noqa: N818 - never leaves this module
    """The turnstile cannot be right: rebuild it and ask again."""

    def __init__(self, generation: int, why: Exception) -> None:
        super().__init__(generation)
        self.generation, self.why = generation, why


class _Away(Exception):  # noqa: N818 - never leaves this module
    """The turnstile does not answer."""

    def __init__(self, generation: int, why: Exception) -> None:
        super().__init__(generation)
        self.generation, self.why = generation, why
