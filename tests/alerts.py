"""The alert rules, judged without Prometheus: enough of its language for the rules we have."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser as promql
import yaml

from config.metrics import Sample

ROOT = Path(__file__).resolve().parents[1]
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"

_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
}


@dataclass(frozen=True)
class Rule:
    """One alert."""

    name: str
    expr: str
    holds_for_s: float
    severity: str
    runbook: str


def rules() -> list[Rule]:
    """Every alert there is."""
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return [
        Rule(
            rule["alert"],
            rule["expr"],
            promql.parse_duration(rule["for"]).total_seconds(),
            rule["labels"]["severity"],
            rule["annotations"]["runbook"],
        )
        for group in groups
        for rule in group["rules"]
    ]


def selectors(expr: str) -> list[tuple[str, dict[str, str]]]:
    """The metrics an expression reads, with the labels it asks for."""
    return [(node.name, {m.name: m.value for m in node.matchers.matchers}) for node in _nodes(promql.parse(expr))]


def firing(samples: Iterable[Sample]) -> set[str]:
    """The alerts that are true of these samples (those that need a history are not judged)."""
    now = list(samples)
    return {rule.name for rule in rules() if "[" not in rule.expr and _is_true(promql.parse(rule.expr), now)}


def _is_true(node: Any, samples: list[Sample]) -> bool:
    if isinstance(node, promql.Call):
        assert node.func.name == "absent", f"{node} is not judged here"
        return not _select(node.args[0], samples)
    assert isinstance(node, promql.BinaryExpr), f"{node} is not judged here"
    if str(node.op) in {"and", "or"}:
        sides = [_is_true(side, samples) for side in (node.lhs, node.rhs)]
        return all(sides) if str(node.op) == "and" else any(sides)
    compare, limit = _COMPARE[str(node.op)], _number(node.rhs)
    return any(compare(sample.value, limit) for sample in _select(node.lhs, samples))


def _number(node: Any) -> float:
    return float(node.val)


def _select(node: Any, samples: list[Sample]) -> list[Sample]:
    if isinstance(node, promql.ParenExpr):
        return _select(node.expr, samples)
    if isinstance(node, promql.BinaryExpr):
        return _joined(_select(node.lhs, samples), _select(node.rhs, samples), node)
    return [s for s in samples if s.name == node.name and all(_matches(m, s) for m in node.matchers.matchers)]


def _joined(left: list[Sample], right: list[Sample], node: Any) -> list[Sample]:
    """Samples of the same labels divided, or taken off."""
    assert str(node.op) in {"/", "-"}, f"{node} is not judged here"
    by_labels = {tuple(sorted(s.labels.items())): s.value for s in right}
    pairs = [(s, by_labels.get(tuple(sorted(s.labels.items())))) for s in left]
    if str(node.op) == "-":
        return [Sample(s.name, s.value - value, s.labels) for s, value in pairs if value is not None]
    return [Sample(s.name, s.value / value, s.labels) for s, value in pairs if value]


def _matches(matcher: Any, sample: Sample) -> bool:
    value = sample.labels.get(matcher.name, "")
    if matcher.op in (promql.MatchOp.Re, promql.MatchOp.NotRe):
        return bool((re.fullmatch(matcher.value, value) is not None) == (matcher.op == promql.MatchOp.Re))
    return bool((value == matcher.value) == (matcher.op == promql.MatchOp.Equal))


def _nodes(node: Any) -> list[Any]:
    if isinstance(node, promql.VectorSelector):
        return [node]
    if isinstance(node, promql.MatrixSelector):
        return [node.vector_selector]
    children = [getattr(node, name) for name in ("lhs", "rhs", "expr") if getattr(node, name, None) is not None]
    children += getattr(node, "args", None) or []
    return [found for child in children for found in _nodes(child)]
