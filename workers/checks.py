"""What `fairturn doctor` asks of every part, each answer with its fix."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from config import policy as policy_file
from config import settings, wiring
from config.desk import ops
from gateways.salesforce import doctor
from routing.errors import FairturnError
from storage.postgres import schema
from storage.postgres.gates import GateState


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer: what was looked at, whether it is well, and what to do when it is not."""

    name: str
    ok: bool
    message: str
    fix: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def all_findings() -> list[Finding]:
    """Ask everything; a part that cannot be asked is a finding, too."""
    return [*_schema(), *_parts(), *_policy(), *_org()]


def _schema() -> Iterator[Finding]:
    yield from _asked("ledger schema", _schema_finding, "Run `fairturn migrate`.")


def _schema_finding() -> list[Finding]:
    current = schema.is_current(wiring.engine())
    message = "the schema is current" if current else "the schema is not current"
    return [Finding("ledger schema", current, message, "" if current else "Run `fairturn migrate`.")]


def _parts() -> Iterator[Finding]:
    fix = "See docs/runbook.md; `fairturn up` starts every process."
    yield from _asked(
        "parts",
        lambda: [
            Finding(c.name, c.ok, c.detail, "" if c.ok else fix) for c in ops(tell=False).checks() if c.name != "policy"
        ],
        fix,
    )


def _policy() -> Iterator[Finding]:
    yield from _asked("policy", _policy_findings, "Run `fairturn migrate`, which publishes the first policy.")
    file = settings.load().policy_file
    if file is not None:
        yield from _asked(
            "policy file", lambda: [_policy_file(file)], "Mend it there; the published policy goes on meanwhile."
        )


def _policy_findings() -> list[Finding]:
    """The policy in force, and versions that could not be published when they were due."""
    trouble, version = wiring.ledger().policy_trouble(), wiring.policies().in_force()
    if version is None:
        fix = "Run `fairturn migrate`, which publishes the first one."
        return [Finding("policy", False, "no policy is published: no lead is routed", fix)]
    fix = "Publish a sound one: `fairturn policy publish FILE`, or `fairturn policy rollback VERSION`."
    found = [Finding("policy", trouble is None, trouble.told if trouble else f"version {version} is in force")]
    if trouble:
        found = [Finding("policy", False, trouble.told, fix)]
    for one in wiring.policies().set_back():
        again = f"`fairturn policy edit {one.version} FILE`, then publish or schedule it; or `policy retire`."
        told = f"version {one.version} could not be published when it was due: {one.problem}"
        found.append(Finding("policy", False, told, again))
    return found


def _policy_file(file: Path) -> Finding:
    """The file that the first policy is taken from."""
    wiring.parse_policy(policy_file.load_file(file), 0)
    return Finding("policy file", True, f"{file} is sound; it counts while no policy is published")


def _org() -> Iterator[Finding]:
    cfg = settings.load()
    if not cfg.salesforce_login_url:
        yield Finding(
            "salesforce", False, "no org is set", "Set SALESFORCE_LOGIN_URL and the other SALESFORCE_ settings."
        )
        return
    fix = "Check SALESFORCE_LOGIN_URL, SALESFORCE_CLIENT_ID and the key or secret; docs/salesforce.md tells how."
    yield from _asked(
        "salesforce",
        lambda: [
            Finding(f.name, f.ok, f.message, f.fix)
            for f in doctor.check(
                wiring.salesforce(),
                wiring.field_map(),
                wiring.stream(cfg.salesforce_topic),
                offers=cfg.salesforce_offer_object,
            )
        ],
        fix,
    )
    yield from _asked("api calls", lambda: [_calls(wiring.gate().state())], "Run `fairturn migrate`.")


def _calls(state: GateState) -> Finding:
    """Whether Salesforce may be called, and how much of its allowance is used."""
    used = "not known yet" if state.used is None else f"{state.used} of {state.allowed}"
    ours = ", ".join(f"{n} to {purpose}" for purpose, n in sorted(state.own.items())) or "none"
    message = f"API calls of the org in 24 hours: {used}; ours: {ours}; we stop at {state.ceiling or 'its share'}"
    if not state.because:
        return Finding("api calls", True, message)
    fix = (
        "Nothing is lost: it goes on by itself. SALESFORCE_API_SHARE and SALESFORCE_API_CALLS say how much we may use."
    )
    return Finding("api calls", False, f"Salesforce is left alone until {state.until}: {state.because}. {message}", fix)


def _asked(name: str, ask: Callable[[], list[Finding]], fix: str) -> list[Finding]:
    try:
        return ask()
    except FairturnError as exc:
        return [Finding(name, False, str(exc), fix)]
