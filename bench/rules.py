"""Rules and tables: what ten thousand of them cost a decision, and what one lead's course takes by itself."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from routing import conditions
from routing.course import Way
from routing.look import Surroundings
from routing.policy import Policy
from routing.rules import From, Rule, Rulebook, Then
from routing.tables import KeyPart, Row, Table
from routing.vocabulary import STANDARD, Kind

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
FEW, ROWS = 10, 100_000
OWN = {**STANDARD, "lead.score": Kind.NUMBER, "lead.product": Kind.TEXT, "lead.tags": Kind.LIST}
#: Rule sets by what their conditions ask; `n` is how many there are.
SETS: Mapping[str, Callable[[int, int], str]] = {
    "postal code": lambda i, _: f'lead.country == "US" && lead.postal_code == "{i:05}"',
    "range": lambda i, n: f"lead.score >= {i / n * 100:.4f} && lead.score < {(i + 1) / n * 100:.4f}",
    "mixed": lambda i, n: _mixed(i, n),  # noqa: PLW0108 - made below
    "one bound each": lambda i, _: f"lead.score > {i + 100} && lead.region.size() > {i}",
    "either of two": lambda i, _: f'lead.country == "US" && (lead.city == "x{i}" || lead.region == "y{i}")',
    "all but": lambda i, _: f'lead.country != "US" && !(lead.city in ["a", "x{i}"])',
    "list": lambda i, _: f'"roof" in lead.tags && lead.tags.exists(t, t.startsWith("x{i}"))',
    "within a text": lambda i, _: f'lead.city.contains("x{i}x")',
    "regular expression": lambda i, _: f'lead.city.matches("^x{i}.*y$")',
    "the same words": lambda _i, _n: 'lead.city.matches("^x.*y$")',
    "sum": lambda i, _: f"lead.score * {i + 2}.5 < 0.0 && has(lead.city)",
    "fact with fact": lambda i, _: f'lead.product != "p{i}" && lead.city == lead.region',
    "time": lambda i, _: f'now - lead.received_at > duration("{i + 1}h") && now.getHours("Europe/Rome") < 24',
    "each of a list": lambda i, _: f'lead.tags.all(t, t.startsWith("x{i}") || t == "y{i}")',
    "one of two values": lambda i, _: f'(lead.score > {i % 100}.0 ? lead.city : lead.region) == "x{i}"',
    "letters and digits": lambda i, _: f'lead.city.matches("^[a-z]{{{i % 300 + 20}}}[0-9]{{3,5}}$")',
    "one or the other": lambda i, _: f'lead.score > 200.0 ? lead.hot : lead.city == "x{i}"',
}


def _mixed(i: int, n: int) -> str:
    return [
        f'lead.country == "US" && lead.postal_code.startsWith("{i:05}")',
        f'lead.score >= {i / n * 100:.4f} && lead.score < {(i + 1) / n * 100:.4f} && lead.product == "roof"',
        f'"tag{i}" in lead.tags || lead.city == "city{i}"',
        f'lead.product == "roof" && lead.region in ["r{i}", "q{i}"]',
    ][i % 4]


def facts(dice: random.Random, n: int) -> dict[str, object]:
    """What is known of a lead; it matches some of the rules of a set of n."""
    return {
        "lead.country": "US",
        "lead.postal_code": f"{dice.randrange(n):05}",
        "lead.score": dice.random() * 100,
        "lead.product": dice.choice(["roof", "heat"]),
        "lead.city": f"city{dice.randrange(2 * n)}",
        "lead.region": f"r{dice.randrange(2 * n)}",
        "lead.tags": [f"tag{dice.randrange(n)}"],
        "lead.received_at": NOW,
    }


def ruled(policy: Policy, name: str, n: int) -> Policy:
    """The policy with so many rules of a set; all of them lead to its first pool."""
    around = Surroundings.of(OWN, {})
    pool = policy.pools[0].name
    made = [
        Rule(f"rule{i}", conditions.compile(SETS[name](i, n), around.vocabulary, where=name), Then(Way.POOL, pool))
        for i in range(n)
    ]
    return replace(policy, rulebook=Rulebook(made, Then(Way.POOL, pool), around, policy.pools))


def by_table(policy: Policy, rows: int) -> Policy:
    """The policy with one rule and a table of so many rows; without rows, one rule without a look-up."""
    pool = policy.pools[0].name
    key = KeyPart("lead.country"), KeyPart("lead.postal_code")
    cells: dict[tuple[str, ...], Row] = {("us", f"{n:05}"): (pool,) for n in range(rows)}
    tables = {"territory": Table("territory", key, {"pool": Kind.TEXT}, cells)} if rows else {}
    around = Surroundings.of(OWN, tables)
    rule = Rule("by-table", None, Then(Way.POOL, From("territory.pool") if rows else pool))
    return replace(policy, rulebook=Rulebook([rule], Then(Way.POOL, pool), around, policy.pools))


def alone(policy: Policy, *, leads: int, spread: int) -> dict[str, float]:
    """CPU microseconds of one lead's course: the median and the 95th of a hundred, without the rest of a decision."""
    dice, book = random.Random(3), policy.rulebook
    assert book is not None
    spent = []
    for _ in range(leads):
        lead = facts(dice, spread)
        began = time.thread_time()
        book.course(lead, NOW)
        spent.append((time.thread_time() - began) * 1e6)
    spent.sort()
    return {"median_us": round(spent[leads // 2], 1), "p95_us": round(spent[leads * 95 // 100], 1)}


def courses(policy: Policy, leads: int, many_rules: int) -> dict[str, Any]:
    """Each set of rules by itself, ten and so many of them, and what it takes to compile and to sort them."""
    found: dict[str, Any] = {}
    for name in SETS:
        began = time.thread_time()
        many = ruled(policy, name, many_rules)
        made = time.thread_time() - began
        found[name] = {
            "few": alone(ruled(policy, name, FEW), leads=leads, spread=FEW),
            "many": alone(many, leads=leads, spread=many_rules),
            "made_s": round(made, 2),
        }
    return found
