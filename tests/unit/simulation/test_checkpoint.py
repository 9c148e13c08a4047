"""A simulation that is left off and gone on with comes to what it would have come to in one piece."""

import json
from dataclasses import replace

from routing.simulation.checkpoint import taken
from routing.simulation.past import Past
from routing.simulation.script import script
from routing.simulation.world import World
from tests.unit.simulation.town import HABITS, a_policy, a_town, lived, played


def in_parts(past: Past, parts: int) -> list[tuple[int, int, int | None]]:
    """Played in so many parts, each from what the one before wrote down."""
    made: list[tuple[int, int, int | None]] = []
    told = None
    length = (past.until - past.since) // parts
    for number in range(parts):
        since = past.since + number * length
        until = past.until if number == parts - 1 else since + length
        part = replace(
            past,
            since=since,
            until=until,
            decisions=[d for d in past.decisions if since <= d.at < until],
            corrections=[c for c in past.corrections if since <= c.at < until],
        )
        world = World(part, script(part), HABITS, told=told)
        world.run()
        told = json.loads(json.dumps(taken(world)))
        made += [(m.lead, m.attempt, m.chosen) for m in world.made]
    return made


def test_parts_come_to_the_same_as_the_whole() -> None:
    past = a_town(60, 12, policy=a_policy(capacity=2))
    whole = played(past)
    history = lived(past, whole)
    last = {(m.lead, m.attempt): m.chosen for m in whole.made}
    found = {(lead, attempt): chosen for lead, attempt, chosen in in_parts(history, 3)}
    same = sum(found.get(key) == chosen for key, chosen in last.items())
    assert same / len(last) > 0.95
    assert abs(len(found) - len(last)) <= 0.05 * len(last)
