"""A worker's clock may be hours off: what is due, stale or first is told by Postgres, Salesforce and Redis alone."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
CLOCK = re.compile(r"datetime\.now|datetime\.utcnow|time\.time\(|date\.today")
#: Where it decides nothing about leads.
ALLOWED = {
    "config/policy_checking.py": "the moment at which examples of rules are tried that name none",
    "gateways/salesforce/auth.py": "an assertion must say until when it is good, by the clock of who signs it",
    "gateways/salesforce/rest.py": "when a record was found missing: told, compared with nothing of ours",
    "workers/cli_access.py": "until when a key is good, some days from now: by the clock of who makes it",
    "workers/cli_find.py": "when a list was written: told in its file",
    "workers/cli_generate.py": "when leads that nobody sent may begin to come: in a file, for a person to read",
    "workers/cli_policy.py": "a time that is past is refused as mistyped; when it is due, the ledger's clock says",
    "workers/subscriber.py": "how late events come: a metric",
}


def test_no_room_asks_the_machine_what_time_it_is() -> None:
    found = {
        str(path.relative_to(ROOT))
        for room in ("routing", "storage", "config", "tasks", "workers", "gateways")
        for path in (ROOT / room).rglob("*.py")
        if CLOCK.search(path.read_text("utf-8"))
    }
    assert {name for name in found if not name.startswith("workers/demo")} <= ALLOWED.keys()
