"""Every command of docs/api.md does what the page says, in the order of the page."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.web.conftest import Api

PAGE = Path(__file__).parents[3] / "docs" / "api.md"

pytestmark = pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl here")


def test_B1_each_command_of_the_tutorial_works(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(blocks) >= 10
    acme = api.partner("acme")
    offer = api.offered(email="zoe@example.org", attributes={"product": "solar"})
    own = {"URL": f"{api.client.base_url}/api/v1".replace("//api", "/api"), "TOKEN": acme.token}
    script = "set -e\n" + "\n".join(block for block in blocks if "export URL" not in block)
    done = subprocess.run(
        ["sh", "-c", script], env=os.environ | own, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert acme.get(f"/offers/{offer}").json()["state"] == "completed"
    for said in (offer, "zoe@example.org", "event: offer.created", "whsec_", '"present":false', '"acceptance_percent"'):
        assert said in done.stdout
