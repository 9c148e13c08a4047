"""What rules are asked of, and what they came to: facts of leads, leads set aside, leads given to a named member.

Used inside the transaction of a routing batch, which holds the leads' locks.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from routing.answering import By, work_times
from routing.batch import Known
from routing.given import set_by
from routing.lead import LeadState, Reason, Ruled
from routing.offer import Actor, Kind, Notice
from routing.plan import Verdict
from routing.policy import Policy
from routing.ruling import Aside, Gift, Step
from routing.timers import to_answer
from storage.postgres.accepting import accepted
from storage.postgres.ending import tell_salesforce
from storage.postgres.notices import tell_members
from storage.postgres.onward import NO_POOL
from storage.postgres.recordset import bigints_of, to_json
from storage.postgres.steps import note

#: Nobody fits a lead now: as conditions may look at the clock, it is looked at again after so long.
AGAIN_AFTER = timedelta(hours=1)
#: A member that a rule names has no room: whoever frees a place of it is faster than this.
ROOM_AFTER = timedelta(minutes=5)


def known(conn: sa.Connection, ids: Sequence[int], policy: Policy, now: datetime) -> Known:
    """The facts of these leads that rules may ask, and what rules have made of them so far."""
    facts: dict[int, Mapping[str, object]] = {}
    ruled: dict[int, Ruled] = {}
    for row in conn.execute(_FACTS, {"ids": bigints_of(ids)}):
        facts[row.id] = {f"lead.{name}": value for name, value in row.attributes.items()} | {
            "lead.region": row.region,
            "lead.city": row.city,
            "lead.postal_code": row.postal_code,
            "lead.source": row.source,
            "lead.owner": row.owner_id or "",
        }
        if row.ruled:
            ruled[row.id] = from_json(row.ruled)
    best = policy.priority.best
    above = None
    if best is not None and best.at_least is None and best.percent is not None:
        above = conn.execute(_BEST_ABOVE, {"share": 1 - best.percent / 100, "last": best.of_last}).scalar()
    return Known(now, facts, ruled, None if above is None else float(above))


def from_json(kept: Mapping[str, Any]) -> Ruled:
    """What the ledger keeps, read."""
    searched = kept.get("searched")
    return Ruled(
        released=frozenset(kept.get("released", ())),
        passed=dict(kept.get("passed", {})),
        waits={rule: datetime.fromisoformat(since) for rule, since in kept.get("waits", {}).items()},
        searched=None if searched is None else (searched[0], datetime.fromisoformat(searched[1])),
        dropped=tuple(kept.get("dropped", ())),
    )


def to_keep(ruled: Ruled) -> dict[str, Any]:
    """What of it is kept, as JSON."""
    kept: dict[str, Any] = {
        "released": sorted(ruled.released),
        "passed": dict(ruled.passed),
        "waits": {rule: since.isoformat() for rule, since in ruled.waits.items()},
        "searched": None if ruled.searched is None else [ruled.searched[0], ruled.searched[1].isoformat()],
        "dropped": list(ruled.dropped),
    }
    return {name: value for name, value in kept.items() if value}


def keep_rulings(conn: sa.Connection, verdicts: Sequence[Verdict], task_id: str, policy_version: int) -> None:
    """Keep what the rules came to for leads that were asked for; nothing where no rule was asked."""
    asked = [v for v in verdicts if v.plan.ruling is not None and not v.plan.slot]
    if not asked:
        return
    conn.execute(_KEEP, {"rows": to_json([_kept(v) for v in asked])})
    _note(conn, [(v.plan.lead.id, v.plan.ruling.steps) for v in asked if v.plan.ruling], task_id, policy_version)


def _kept(verdict: Verdict) -> dict[str, Any]:
    plan, ruling = verdict.plan, verdict.plan.ruling
    if ruling is None:
        raise ValueError("no rule was asked")
    held = verdict.reason is Reason.HELD
    moments = [at for at in (ruling.next_at, plan.next_at) if at is not None]
    if verdict.reason is Reason.NOBODY_FITS:
        moments.append(ruling.now + AGAIN_AFTER)
    waits = verdict.waits and not held
    return {
        "id": plan.lead.id,
        "rank": ruling.rank,
        "score": ruling.score,
        "lane": int(plan.lead.lane),
        "rule": ruling.course.rule,
        "basket": (plan.pool.overflow.target or plan.pool.name) if held else None,
        "next": min(moments).isoformat() if waits and moments else None,
        "ruled": to_keep(ruling.ruled),
    }


def _note(conn: sa.Connection, steps: Sequence[tuple[int, Sequence[Step]]], task_id: str, policy_version: int) -> None:
    entries = [(lead, what, detail) for lead, mine in steps for what, detail in mine]
    note(conn, entries, task_id, policy_version=policy_version)


# --- not asked for


def set_aside(conn: sa.Connection, asides: Sequence[Aside], task_id: str, policy_version: int) -> None:
    """Leave leads where their rules send them; of those that are none of ours Salesforce is told nothing.

    Where it shows a lead as ours already, it is told that it is so no more: once.
    """
    if not asides:
        return
    conn.execute(_ASIDE, {"rows": to_json([_row(one) for one in asides])})
    silent = [one.lead.id for one in asides if not one.told]
    shown = conn.execute(_SHOWN, {"ids": bigints_of(silent)}).scalars() if silent else ()
    tell_salesforce(conn, [*(one.lead.id for one in asides if one.told), *shown])
    _note(conn, [(one.lead.id, (*one.steps, _standing(one))) for one in asides], task_id, policy_version)


def _standing(one: Aside) -> Step:
    return str(one.state), {"reason": one.reason, "rule": one.rule}


def _row(one: Aside) -> dict[str, Any]:
    held = one.state is LeadState.WAITING and one.reason is Reason.HELD
    return {
        "id": one.lead.id,
        "state": one.state,
        "reason": one.reason,
        "rule": one.rule,
        "basket": one.target if held else None,
        "next": one.next_try_at.isoformat() if one.next_try_at else None,
        "rank": one.rank,
        "lane": int(one.lead.lane),
        "ruled": to_keep(one.ruled),
    }


# --- given to a named member


def give(conn: sa.Connection, gifts: Sequence[tuple[UUID, Gift]], task_id: str, policy_version: int) -> None:
    """Give leads to the members that rules name: outside of any rotation, so no account moves (row M3)."""
    for offer, gift in gifts:
        _give(conn, offer, gift, task_id, policy_version)


def _give(conn: sa.Connection, offer: UUID, gift: Gift, task_id: str, policy_version: int) -> None:
    lead, member, ruling = gift.lead, gift.member, gift.ruling
    units = ruling.course.units
    _note(conn, [(lead.id, ruling.steps)], task_id, policy_version)
    taken = conn.execute(_TAKE_PLACE, {"member": member.id, "units": units, "beyond": gift.beyond}).first()
    if taken is None:
        _let_wait(conn, gift, task_id, policy_version)
        return
    rules = gift.pool.answering if gift.pool else NO_POOL
    now: datetime = conn.execute(sa.text("SELECT clock_timestamp()")).scalar_one()
    accept = gift.accept or taken.auto_accept
    times = to_answer(rules, now, lead.lane)
    work_by, warn_at = work_times(now, rules) if accept else (None, times.remind_at)
    values: dict[str, Any] = {"id": offer, "lead": lead.id, "member": member.id, "market": member.market, "now": now}
    values |= {"attempt": lead.attempt, "kind": Kind.MANUAL, "distance": gift.distance_m, "units": units}
    values |= {"state": "accepted" if accept else "offered", "until": now if accept else times.due}
    values |= {"accepted": now if accept else None, "work_by": work_by, "remind_at": warn_at}
    conn.execute(_OFFER, values)
    kept = {"id": lead.id, "rank": ruling.rank, "lane": int(lead.lane), "rule": ruling.course.rule, "units": units}
    kept |= {"pool": gift.pool.name if gift.pool else None, "ruled": to_keep(ruling.ruled)}
    conn.execute(_GIVEN, {"rows": to_json([kept])})
    detail = {"offer": str(offer), "member": member.id, "kind": "owner", "rule": ruling.course.rule}
    ruled = {name: one for name, one in to_keep(ruling.ruled).items() if name in {"released", "passed"}}
    asked = {"facts": dict(ruling.used), **({"ruled": ruled} if ruled else {}), **set_by(ruling.course)}
    note(conn, [(lead.id, "offered", {**detail, **asked})], task_id, policy_version=policy_version)
    tell_members(conn, [(member.id, offer, lead.id, Notice.CREATED)], locked=True)
    if accept:
        accepted(conn, [(offer, lead.id, member.id)], By(Actor.FAIRTURN, task_id=task_id))
    else:
        tell_salesforce(conn, [lead.id])
    conn.execute(_TELL_TURNSTILE, {"lead": lead.id, "offer": offer})


def _let_wait(conn: sa.Connection, gift: Gift, task_id: str, policy_version: int) -> None:
    """The member has no room, and may not be given more than it has room for."""
    ruling = gift.ruling
    waits = Aside(
        gift.lead,
        LeadState.WAITING,
        Reason.NO_ROOM,
        rule=ruling.course.rule,
        next_try_at=ruling.now + ROOM_AFTER,
        rank=ruling.rank,
        ruled=ruling.ruled,
    )
    set_aside(conn, [waits], task_id, policy_version)


_FACTS = sa.text("""
    SELECT id, region, city, postal_code, source, owner_id, attributes, ruled FROM leads
    WHERE id = ANY(CAST(:ids AS bigint[]))
""")
# The last ones that rules gave a priority, whatever became of them.
_BEST_ABOVE = sa.text("""
    SELECT percentile_disc(:share) WITHIN GROUP (ORDER BY score)
    FROM (SELECT score FROM leads WHERE score IS NOT NULL ORDER BY id DESC LIMIT :last) scored
""")
_ROWS = """json_to_recordset(CAST(:rows AS json)) AS g (
        id bigint, state text, reason text, rank bigint, score bigint, lane smallint, rule text, basket text, pool text,
        units int, next timestamptz, ruled jsonb)"""
_KEEP = sa.text(f"""
    UPDATE leads SET rank = g.rank, score = g.score, lane = g.lane, rule = g.rule, basket = g.basket,
           next_try_at = g.next, ruled = g.ruled
    FROM {_ROWS} WHERE leads.id = g.id
""")  # noqa: S608 - our own words, here and below
_ASIDE = sa.text(f"""
    UPDATE leads SET state = g.state, reason = g.reason, rank = g.rank, lane = g.lane, rule = g.rule, basket = g.basket,
           next_try_at = g.next, ruled = g.ruled, version = version + 1, nudged_at = NULL,
           updated_at = clock_timestamp()
    FROM {_ROWS} WHERE leads.id = g.id
""")  # noqa: S608
_SHOWN = sa.text("""
    SELECT id FROM leads WHERE id = ANY(CAST(:ids AS bigint[]))
      AND (EXISTS (SELECT FROM timeline t WHERE t.lead_id = leads.id AND t.what = 'written')
           OR EXISTS (SELECT FROM outbox o WHERE o.lead_id = leads.id AND o.kind = 'salesforce'))
    ORDER BY id
""")
_GIVEN = sa.text(f"""
    UPDATE leads SET state = 'offered', reason = NULL, rank = g.rank, lane = g.lane, rule = g.rule, basket = NULL,
           pool = g.pool, units = g.units, next_try_at = NULL, ruled = g.ruled, version = version + 1,
           nudged_at = NULL, updated_at = clock_timestamp()
    FROM {_ROWS} WHERE leads.id = g.id
""")  # noqa: S608
_TAKE_PLACE = sa.text("""
    UPDATE members SET open = open + :units WHERE id = :member AND active AND left_at IS NULL AND (:beyond
        OR open + :units <= coalesce(capacity, (SELECT capacity FROM tiers WHERE name = members.tier),
                                     (SELECT capacity FROM tiers WHERE name = '')))
    RETURNING auto_accept
""")
# The ring is as wide as it takes: a rule has decided.
_OFFER = sa.text("""
    INSERT INTO offers (id, lead_id, member_id, market, attempt, state, kind, actor, distance_m, ring_m, offered_at,
                        expires_at, accepted_at, worked_at, work_by, remind_at, units)
    VALUES (:id, :lead, :member, :market, :attempt, :state, :kind, 'fairturn', :distance, ceil(:distance), :now,
            :until, :accepted, :accepted, :work_by, :remind_at, :units)
""")
_TELL_TURNSTILE = sa.text(
    "INSERT INTO outbox (kind, lead_id, version, offer_id) VALUES ('turnstile', :lead, 0, :offer)"
)
