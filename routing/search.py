"""Search for members: who is in reach of a batch's leads, in which order, and who of them is not asked."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from routing.admission import Then
from routing.columns import CANDIDATE, Columns, Table
from routing.decision import Candidate, Gate, Weighed
from routing.fit import Fit
from routing.ladder import Look
from routing.lead import Lead, Point
from routing.near import Index, Reach, Terms
from routing.policy import Mode, Policy, Tiers
from routing.rotation import by_distance

#: Gates of members who are none for this lead, now or ever: they come after those of turns.
_UNFIT = Gate.SKILL
_FEW = 16


class Run(NamedTuple):
    """Where a group is in the crowd."""

    ring: int
    tier_rank: int | None
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Aside:
    """Who of a lead's reach is not asked."""

    tried: tuple[Weighed, ...] = ()
    words: Mapping[int, str] = field(default_factory=dict)
    next_at: datetime | None = None


class Found(NamedTuple):
    """What a search came to, lead by lead."""

    radii: Sequence[tuple[float, ...]]
    upto: Sequence[int]  # the ring it was searched up to
    crowd: Table[Candidate]  # everyone who may be asked
    groups: Sequence[Sequence[Run]]  # in the order of asking
    aside: Sequence[Aside]
    nearest_m: Mapping[int, float]  # where nobody is in reach


@dataclass(frozen=True, slots=True)
class Search:
    """How a batch is searched."""

    policy: Policy
    index: Index
    all_rings: bool
    now: datetime | None
    fit: Fit | None

    def found(self, asked: Sequence[Look]) -> "Found":
        """Who is in reach of each lead, and who of them may be asked."""
        radii, terms = _radii(asked), self.index.terms(self.policy)
        near, upto = self._reach(asked, radii, terms)
        crowd, groups, aside = self._sorted(asked, near, terms)
        nobody = [i for i in range(len(asked)) if not groups[i] and not aside[i].tried]
        nearest = dict(zip(nobody, self.index.nearest([_place(asked[i].lead) for i in nobody]), strict=True))
        far = {i: away[1] for i, away in nearest.items() if away is not None}
        return Found(radii, upto, crowd, groups, aside, far)

    def _reach(self, asked: Sequence[Look], radii: Sequence[Sequence[float]], terms: Terms) -> tuple[Reach, list[int]]:
        """Everyone in the first ring that has anybody free, lead by lead; and up to which ring it was searched.

        Most leads have somebody in the smallest ring; for the others everyone in reach is looked up, and cut.
        """
        last = [len(r) - 1 for r in radii]
        upto = last if self.all_rings else [n if one.wide else min(0, n) for one, n in zip(asked, last, strict=True)]
        near = self.index.reach([_place(one.lead) for one in asked], radii, upto)
        if self.all_rings:
            return near, upto
        free = self._gates(asked, near, terms) == Gate.ELIGIBLE
        found = np.bincount(near.lead[free], minlength=len(asked)) > 0
        todo = [i for i in np.flatnonzero(~found).tolist() if last[i] > upto[i]]
        if not todo:
            return near, upto
        wide = self.index.reach(
            [_place(asked[i].lead) for i in todo], [radii[i] for i in todo], [last[i] for i in todo]
        )
        first = np.array([last[i] for i in todo], dtype=np.intp)
        free = self._gates([asked[i] for i in todo], wide, terms) == Gate.ELIGIBLE
        np.minimum.at(first, wide.lead[free], wide.ring[free])
        for i, ring in zip(todo, first.tolist(), strict=True):
            upto[i] = ring
        anew = np.zeros(len(asked), dtype=np.bool_)
        anew[todo] = True
        keep, inside = ~anew[near.lead], wide.ring <= first[wide.lead]
        numbers = np.array(todo, dtype=np.intp)[wide.lead[inside]]
        return Reach(
            np.concatenate([near.lead[keep], numbers]),
            *(np.concatenate([one[keep], other[inside]]) for one, other in zip(near[1:], wide[1:], strict=True)),
        ), upto

    def _gates(self, asked: Sequence[Look], near: Reach, terms: Terms) -> NDArray[np.int8]:
        """Who of those in reach is not asked, and why; ELIGIBLE: is asked."""
        gates = _gates(asked, near, terms)
        if self.fit is not None and self.now is not None:
            self.fit.close(asked, near, gates, self.now)
        return gates

    def _sorted(
        self, asked: Sequence[Look], found: Reach, terms: Terms
    ) -> tuple[Table[Candidate], list[list[Run]], list[Aside]]:
        """The crowd of candidates in the order of asking, each lead's groups in it, and who is not asked."""
        ranked = [_is_ranked(one) for one in asked]
        decimetres = np.rint(found.distance_m * 10).astype(np.int64)
        tiers = np.where(np.array(ranked)[found.lead], terms.tier_rank[found.row], 0) if any(ranked) else None
        order = _order(found, decimetres, tiers, None if tiers is None else _by_tier(asked, found))
        lead, row, ring = found.lead[order], found.row[order], found.ring[order]
        gates = self._gates(asked, Reach(lead, row, found.distance_m, ring), terms)
        aside = gates != Gate.ELIGIBLE
        columns: Columns = (
            terms.member[row],
            decimetres[order] / 10,
            ring.astype(np.int16),
            terms.tier_rank[row],
            _weights(asked, lead, row, decimetres[order], self.index, terms, self.now),
            terms.capacity[row],
        )
        seen = [Aside()] * len(asked)
        if aside.any():
            for number in np.unique(lead[aside]).tolist():
                mine = aside & (lead == number)
                rows = Table(CANDIDATE, tuple(c[mine] for c in columns)).rows(0, int(mine.sum()))
                away = tuple(_weigh_aside(c, Gate(g)) for c, g in zip(rows, gates[mine].tolist(), strict=True))
                seen[number] = replace(self._unfit(asked[number], row[mine], gates[mine], terms), tried=away)
            free = ~aside
            columns, lead, ring = tuple(c[free] for c in columns), lead[free], ring[free]
            tiers = None if tiers is None else tiers[order][free]
        elif tiers is not None:
            tiers = tiers[order]
        return Table(CANDIDATE, columns), _runs(len(asked), lead, ring, tiers, ranked), seen

    def _unfit(self, one: Look, rows: NDArray[np.intp], gates: NDArray[np.int8], terms: Terms) -> Aside:
        """Why those who do not fit do not, and when the first of them may."""
        if self.fit is None or self.now is None:
            return Aside()
        unfit = np.flatnonzero(gates >= _UNFIT)
        words = {
            int(terms.member[rows[at]]): self.fit.word(one, int(rows[at]), Gate(gates[at]), self.now)
            for at in unfit.tolist()
        }
        return Aside((), words, self.fit.next_change(one, rows[gates == Gate.HOURS], self.now))


def _radii(asked: Sequence[Look]) -> list[tuple[float, ...]]:
    """The radii of each lead; the same ones are the same object."""
    known: dict[tuple[float, ...], tuple[float, ...]] = {}
    return [known.setdefault(one.radii_m, one.radii_m) for one in asked]


def _gates(asked: Sequence[Look], near: Reach, terms: Terms) -> NDArray[np.int8]:
    """Who of those in reach is not asked, and why; ELIGIBLE: is asked."""
    gates = np.zeros(len(near.lead), dtype=np.int8)
    for number, one in [(number, one) for number, one in enumerate(asked) if one.ranks is not None]:
        away = (near.lead == number) & ~np.isin(terms.tier_rank[near.row], list(one.ranks or ()))
        gates[away & ~np.isin(terms.member[near.row], one.lead.chances)] = Gate.TIER
    for number, one in [(number, one) for number, one in enumerate(asked) if one.tried]:
        gates[(near.lead == number) & _among(terms.member[near.row], one.tried)] = Gate.TRIED
    return gates


def _among(members: NDArray[np.int32], wanted: Collection[int]) -> NDArray[np.bool_]:
    """Which of the members are among those: mostly so few that one comparison each is quicker than a search."""
    if len(wanted) > _FEW:
        return np.isin(members, list(wanted))
    found = np.zeros(len(members), dtype=np.bool_)
    for one in wanted:
        found |= members == one
    return found


def _is_ranked(one: Look) -> bool:
    best = one.ruling is not None and one.ruling.best
    return one.pool.tiers is Tiers.RANKED or one.pool.mode is Mode.CURSOR or best


def _by_tier(asked: Sequence[Look], found: Reach) -> NDArray[np.bool_] | None:
    """Of everyone in reach whether its lead asks a tier in all rings before the next tier; None: no lead does."""
    first = [one.pool.overflow.then is Then.NEXT_RING or bool(one.ruling and one.ruling.best) for one in asked]
    return np.array(first)[found.lead] if any(first) else None


def _order(
    found: Reach,
    decimetres: NDArray[np.int64],
    tiers: NDArray[np.int32] | None,
    by_tier: NDArray[np.bool_] | None = None,
) -> NDArray[np.intp]:
    """By lead, ring, tier (where ranked), distance, id; where `by_tier`, the tier goes before the ring."""
    row = found.row.astype(np.int64)  # rows ascend with ids
    if tiers is None and not (found.lead >> 12).any() and not (found.ring >> 3).any() and not (row >> 20).any():
        key = ((found.lead.astype(np.int64) << 3 | found.ring) << 28 | decimetres) << 20 | row
        return np.argsort(key)  # one key of 63 bits sorts in a tenth of the time
    inner, outer = np.zeros_like(row) if tiers is None else tiers, found.ring
    if by_tier is not None:
        inner, outer = np.where(by_tier, outer, inner), np.where(by_tier, inner, outer)
    return np.lexsort((row, decimetres, inner, outer, found.lead))


def _runs(
    count: int,
    lead: NDArray[np.intp],
    ring: NDArray[np.intp],
    tiers: NDArray[np.int32] | None,
    ranked: Sequence[bool],
) -> list[list[Run]]:
    starts_here = np.ones(len(lead), dtype=np.bool_)
    starts_here[1:] = (lead[1:] != lead[:-1]) | (ring[1:] != ring[:-1])
    if tiers is not None:
        starts_here[1:] |= tiers[1:] != tiers[:-1]
    starts = np.flatnonzero(starts_here)
    ranks = [0] * len(starts) if tiers is None else tiers[starts].tolist()
    bounds = pairwise([*starts.tolist(), len(lead)])
    runs: list[list[Run]] = [[] for _ in range(count)]
    for number, at, rank, (start, stop) in zip(
        lead[starts].tolist(), ring[starts].tolist(), ranks, bounds, strict=True
    ):
        runs[number].append(Run(at, rank if ranked[number] else None, start, stop))
    return runs


def _weights(  # noqa: PLR0917 - the crowd, column by column
    asked: Sequence[Look],
    lead: NDArray[np.intp],
    row: NDArray[np.intp],
    decimetres: NDArray[np.int64],
    index: Index,
    terms: Terms,
    now: datetime | None,
) -> NDArray[np.int32]:
    """What each weighs for its lead: its own weight, and where the pool says so, by its day and by its distance."""
    weight = terms.weight[row]
    for pool in {id(one.pool): one.pool for one in asked if one.pool.weighs_anew}.values():
        mine = np.array([one.pool is pool for one in asked])[lead]
        weighed = index.weights(pool, terms, now)[row[mine]]
        if pool.turns.halves_at_m:
            weighed = by_distance(weighed, decimetres[mine], pool.turns.halves_at_m)
        weight[mine] = weighed
    return weight


def _place(lead: Lead) -> Point:
    if lead.place is None:
        raise ValueError(f"lead {lead.id} has no place")
    return lead.place


def _weigh_aside(c: Candidate, gate: Gate) -> Weighed:
    return Weighed(c.member, c.distance_m, c.ring, c.weight, c.capacity, c.tier_rank, gate)
