"""The alert rules and the dashboard speak of metrics there are, and every alert has a page."""

import json
import re
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml

from config.metrics import catalogue
from tests.alerts import ROOT, Rule, rules, selectors

PROMETHEUS = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text("utf-8"))
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "fairturn.json").read_text("utf-8"))
WITHIN_S = 120
SERIES = re.compile(r"_(bucket|sum|count)$")


def seconds(text: str) -> float:
    return promql.parse_duration(text).total_seconds()


def known(expr: str) -> None:
    """Fails unless every metric of the expression, with the labels asked for, is in the catalogue."""
    for name, labels in selectors(expr):
        entry = catalogue().get(name) or catalogue()[SERIES.sub("", name)]
        assert set(labels) <= {*entry.labels, "le", "job", "instance"}, f"{name} has no labels {set(labels)}"


def panels() -> list[dict[str, Any]]:
    return [p for panel in DASHBOARD["panels"] for p in (panel, *panel.get("panels", ()))]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.name)
def test_an_alert_reads_metrics_there_are(rule: Rule) -> None:
    assert selectors(rule.expr)
    known(rule.expr)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.name)
def test_K8_an_alert_is_raised_within_two_minutes(rule: Rule) -> None:
    every = PROMETHEUS["global"]
    assert seconds(every["scrape_interval"]) + seconds(every["evaluation_interval"]) + rule.holds_for_s < WITHIN_S


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.name)
def test_an_alert_has_a_page_that_says_what_to_do(rule: Rule) -> None:
    page = (ROOT / rule.runbook).read_text("utf-8")
    assert rule.name in page
    for part in ("## What it means", "## What to do"):
        assert part in page


def test_no_page_speaks_of_an_alert_that_is_gone() -> None:
    told = {ROOT / rule.runbook for rule in rules()} | {ROOT / "docs" / "alerts" / "README.md"}
    assert set((ROOT / "docs" / "alerts").glob("*.md")) == told


def test_the_index_lists_every_alert_with_its_rule() -> None:
    index = (ROOT / "docs" / "alerts" / "README.md").read_text("utf-8")
    missing = [r.name for r in rules() if f"[{r.name}]({Path(r.runbook).name})" not in index or r.expr not in index]
    assert missing == []


def test_the_scrape_finds_the_rules() -> None:
    assert all((ROOT / "deploy" / "prometheus" / Path(name)).is_file() for name in PROMETHEUS["rule_files"])


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_panel_of_the_dashboard_reads_metrics_there_are(panel: dict[str, Any]) -> None:
    for target in panel.get("targets", ()):
        expr = target["expr"].replace("$__rate_interval", "1m").replace("$market", ".*")
        known(expr)


def test_every_panel_of_the_dashboard_has_its_own_place_and_number() -> None:
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in panels()]
    assert len(set(places)) == len(places)
