"""Requests made up from the OpenAPI document: no answer is a mistake of ours, and each is one the document names.

CASES=20000 asks so many; `make proofs PROOFS=api_fuzz` does.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from config import signing
from routing.access import Role
from tests.integration.web.conftest import Api
from tests.integration.web.test_ourselves import person

CASES = int(os.environ.get("CASES", "300"))
#: What partners ask, with about so many operations; and what those ask who run the house.
PARTNERS = ("^/api/v1/(offers|me|open-leads|hooks|devices|push-key)", 28)
HOUSE = ("^/api/v1/(policy|leads|kept-leads|fairness|pools|stats|invariants)", 21)
#: The whole of schemathesis takes more than a thousand requests by itself.
PHASES = "examples,fuzzing" if CASES < 2000 else "examples,coverage,fuzzing,stateful"
ROOT = Path(__file__).parents[3]
HOOKS = "tests.integration.web.fuzz_hooks"
#: Every check of schemathesis but two. A refusal by the rules (409) is a good answer to good data, and an id that
#: somebody else's answer made useless is no mistake.
LEFT_OUT = "positive_data_acceptance,use_after_free"


@pytest.mark.long
@pytest.mark.timeout(60 + CASES)
def test_no_made_up_request_of_a_partner_gets_an_answer_that_the_document_does_not_name(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "LIVES_S", 10 * CASES)
    api.house.publish(answers={"work_within": "48h", "second_chance": True, "open_for": "24h", "rejects_a_day": 50})
    acme = api.partner("acme", capacity=1000)
    ann_id, ann = person(api, acme, "ann", Role.PARTNER_ADMIN)
    offers = [api.offered(f"lead-{n}") for n in range(20)]
    for offer in offers[::3]:
        acme.post(f"/offers/{offer}/accept")
    api.house.overdue(*(api.house.id_of(f"lead-{n}") for n in (1, 4, 7)))
    fuzz(api, PARTNERS, ann.token, KNOWN_OFFER_ID=" ".join(offers), KNOWN_PERSON_ID=str(ann_id))


@pytest.mark.long
@pytest.mark.timeout(60 + CASES)
def test_no_made_up_request_of_the_house_gets_an_answer_that_the_document_does_not_name(api: Api) -> None:
    api.partner("acme", capacity=1000)
    leads = [api.house.lead(f"lead-{n}") for n in range(4)]
    api.house.work()
    for limit in (1, 2, 3):
        api.house.publish(reassignments=limit)
    fuzz(
        api, HOUSE, "operators-token", KNOWN_REF=" ".join(map(str, leads)), KNOWN_POOL="installers", KNOWN_VERSION="1 2"
    )


def fuzz(api: Api, whom: tuple[str, int], token: str, **known: str) -> None:
    """Ask the operations of these addresses what schemathesis makes up from the document."""
    paths, operations = whom
    assert api.client.get("/api/v1/openapi.json").is_success  # made now: schemathesis is less patient
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{api.client.base_url}/api/v1/openapi.json"),
            *("--include-path-regex", paths),
            *("--exclude-checks", LEFT_OUT, "--checks", "all", "--header", f"Authorization: Bearer {token}"),
            *("--max-examples", str(max(4, CASES // operations)), "--phases", PHASES),
            *("--seed", "4", "--continue-on-failure"),
            *("--workers", "1", "--warnings", "off"),
        ],
        cwd=ROOT,
        env=os.environ | {"SCHEMATHESIS_HOOKS": HOOKS} | known,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    generated = re.search(r"(\d+) generated", done.stdout)
    assert generated is not None
    assert int(generated[1]) >= CASES // 2
    sys.stdout.write(f"{generated[0]}\n")
