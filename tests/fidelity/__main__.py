"""Runs every client against a fresh sandbox and checks what it saw. Needs Node 20 and the package registries once.

The Node clients and `avro` are installed under `.fairturn/fidelity`, never into the project's own environment.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.sandbox_fixture import ROOT, SandboxOrg, running_sandbox

HERE = Path(__file__).parent
TOOLS = ROOT / ".fairturn" / "fidelity"
LOGINS = ("user-supplied", "username-password", "oauth-client-credentials", "oauth-jwt-bearer")
LEADS = 3
EVENTS = LEADS + 3


def install() -> None:
    """Puts the clients under TOOLS; a second run finds them there."""
    TOOLS.mkdir(parents=True, exist_ok=True)
    for each in (*HERE.glob("*.mjs"), HERE / "package.json"):
        shutil.copy(each, TOOLS)
    if not (TOOLS / "node_modules").exists():
        command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
        subprocess.run(command, cwd=TOOLS, check=True)
    if not (TOOLS / "python").exists():
        installer = ["uv", "pip"] if find_spec("uv") else ["pip"]
        wanted = ["--target", str(TOOLS / "python"), "-r", str(HERE / "requirements.txt")]
        subprocess.run([sys.executable, "-m", *installer, "install", "-q", *wanted], check=True)


def prepare(org: SandboxOrg) -> dict[str, str]:
    """Leads and changes for the clients to read; the environment that tells them where."""
    ids = org.create_leads(*({"LastName": f"Lead {n}", "Company": "F", "City": "Troy"} for n in range(LEADS)))
    org.rest("PATCH", f"sobjects/Lead/{ids[0]}", json={"City": "Albany", "Phone": "555"}).raise_for_status()
    org.admin("POST", "geocode", {"id": ids[0], "latitude": 42.65, "longitude": -73.75})
    org.rest("DELETE", f"sobjects/Lead/{ids[1]}").raise_for_status()
    return {
        **os.environ,
        "NODE_EXTRA_CA_CERTS": str(org.ca),
        "NO_PROXY": "localhost,127.0.0.1",
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(TOOLS / "python"))),
        "HTTP": str(org.http),
        "INSTANCE_URL": org.instance_url,
        "GRPC_TLS": str(org.grpc_tls),
        "CA": str(org.ca),
        "ORG_ID": org.org_id,
        "TOKEN": org.token(),
        "LEAD_ID": ids[0],
        "EVENTS": str(EVENTS),
    }


def run(environment: dict[str, str], *command: str, **extra: str) -> Any:
    """What a client printed, as JSON. Its complaints go to stderr."""
    done = subprocess.run(
        command, cwd=TOOLS, env={**environment, **extra}, stdout=subprocess.PIPE, timeout=60, check=True, text=True
    )
    return json.loads(done.stdout)


def pubsub_client(environment: dict[str, str]) -> None:
    """Each login reads the same events; a replay id as a number (8 bytes on the wire) resumes after it."""
    for login in LOGINS:
        seen = run(environment, "node", "pubsub_client.mjs", AUTH=login)
        kinds = [each["payload"]["ChangeEventHeader"]["changeType"] for each in seen]
        assert kinds == ["CREATE"] * LEADS + ["UPDATE", "UPDATE", "DELETE"], kinds
        changed = seen[LEADS]["payload"]["ChangeEventHeader"]["changedFields"]
        # The client lists a compound that is alone in its array as nothing: a known fault of its own.
        assert {"Phone", "LastModifiedDate", "Address.City"} <= set(changed), changed
    resumed = run(
        environment, "node", "pubsub_client.mjs", AUTH=LOGINS[0], EVENTS="1", REPLAY_ID=str(seen[-2]["replayId"])
    )
    assert resumed[0]["id"] == seen[-1]["id"], resumed


def jsforce_client(environment: dict[str, str]) -> None:
    seen = run(environment, "node", "jsforce_client.mjs")
    assert seen["user"]["organizationId"] == environment["ORG_ID"], seen["user"]
    assert seen["identity"] == "fidelity@org.invalid"
    assert [each["success"] for each in seen["made"]] == [True, False], seen["made"]
    assert seen["made"][1]["errors"][0]["statusCode"] == "REQUIRED_FIELD_MISSING"
    assert seen["one"]["success"]
    assert seen["upserted"]["success"]
    assert seen["removed"]["success"]
    assert seen["rating"] == "Hot"
    assert seen["found"]["records"][0]["Owner"]["Name"] == "Fidelity", seen["found"]
    assert seen["all"] == LEADS
    assert seen["counted"] == LEADS - 1
    assert seen["fields"] > 50


def official_example(environment: dict[str, str], replay_hex: str) -> None:
    seen = run(
        environment,
        sys.executable,
        str(HERE / "like_official_example.py"),
        REPLAY_HEX=replay_hex,
        EVENTS=str(EVENTS - 1),
    )
    assert seen["schema"] == "LeadChangeEvent"
    assert [each["type"] for each in seen["events"]] == ["CREATE"] * (LEADS - 1) + ["UPDATE", "UPDATE", "DELETE"]
    assert seen["events"][LEADS]["changed"] == ["Address.Latitude", "Address.Longitude", "Address.GeocodeAccuracy"]
    assert set(seen["events"][LEADS - 1]["changed"]) == {"Phone", "LastModifiedDate", "Address.City"}


def main() -> None:
    install()
    with tempfile.TemporaryDirectory() as folder, running_sandbox(Path(folder)) as org:
        environment = prepare(org)
        first = run(environment, "node", "pubsub_client.mjs", AUTH=LOGINS[0], EVENTS="1")[0]["replayId"]
        replay_hex = f"{first:016x}0000"
        clients: dict[str, Callable[[], None]] = {
            "salesforce-pubsub-api-client": lambda: pubsub_client(environment),
            "official Python example": lambda: official_example(environment, replay_hex),
            "jsforce": lambda: jsforce_client(environment),
        }
        for name, check in clients.items():
            check()
            sys.stdout.write(f"{name}: as with Salesforce\n")


if __name__ == "__main__":
    main()
