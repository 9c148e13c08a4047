"""A client in another language, generated from the document by a public generator. Needs Node 20, and npm once."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.web.conftest import Api

HERE = Path(__file__).parents[2] / "fidelity" / "partner"
TOOLS = Path(__file__).parents[3] / ".fairturn" / "partner-client"

pytestmark = pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")), reason="there is no Node here")


def run(*command: str) -> str:
    done = subprocess.run(command, cwd=TOOLS, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def tools() -> Path:
    """The generator and the compiler, installed once."""
    TOOLS.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "tsconfig.json", "partner.ts"):
        shutil.copy(HERE / name, TOOLS)
    if not (TOOLS / "node_modules").exists():
        run("npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--silent")
    return TOOLS


@pytest.mark.long
@pytest.mark.timeout(300)
def test_B1_a_client_generated_in_typescript_hears_accepts_and_completes(api: Api, tools: Path) -> None:
    (tools / "openapi.json").write_text(json.dumps(api.client.get("/api/v1/openapi.json").json()), "utf-8")
    run("npx", "openapi-ts", "-i", "openapi.json", "-o", "client", "-c", "@hey-api/client-fetch", "--silent")
    run("npx", "tsc")
    acme = api.partner("acme")
    offer = api.offered(email="zoe@example.org", attributes={"product": "solar"})
    seen = json.loads(run("node", "out/partner.js", str(api.client.base_url), acme.token))
    assert seen == {
        "listed": [offer],
        "product": "solar",
        "hidden": None,
        "wrong": [422, "reason"],
        "accepted": ["accepted", 2],
        "again": [2, "true"],
        "email": "zoe@example.org",
        "completed": "completed",
        "late": "urn:fairturn:problem:wrong-state",
        "offer_id": offer,
    }
    assert api.house.state(api.house.id_of("lead-1"))[0] == "done"
