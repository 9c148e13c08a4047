"""Every command of docs/api.md and docs/house-api.md does what the page says, in the order of the page."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from config import wiring
from tests.integration.routing.house import MARKET
from tests.integration.web.conftest import Api

DOCS = Path(__file__).parents[3] / "docs"

pytestmark = pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl here")


def test_B1_each_command_of_the_tutorial_works(api: Api) -> None:
    acme = api.partner("acme")
    offer = api.offered(email="zoe@example.org", attributes={"product": "solar"})
    told = run(api, "api.md", acme.token)
    assert acme.get(f"/offers/{offer}").json()["state"] == "completed"
    for said in (offer, "zoe@example.org", "event: offer.created", "whsec_", '"present":false', '"acceptance_percent"'):
        assert said in told


def test_M10_each_command_of_the_page_for_the_house_works(api: Api) -> None:
    api.partner("acme")
    api.offered(email="zoe@example.org")
    wiring.followed().follow(MARKET)
    told = run(api, "house-api.md", "operators-token")
    assert "zoe@example.org" not in told
    assert api.house.value("SELECT restores FROM policies WHERE state = 'published'") == 1
    for said in (
        '"state":"retired"',
        '"findings":[',
        "pools[installers].rings",
        "# filters: ",
        '"gates":',
        '"bound":',
        '"outcome":"offered"',
    ):
        assert said in told, said


def run(api: Api, page: str, token: str) -> str:
    """Run the blocks of a page one after the other; what they print."""
    blocks = re.findall(r"```sh\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL)
    assert len(blocks) >= 6
    own = {"URL": f"{api.client.base_url}/api/v1".replace("//api", "/api"), "TOKEN": token}
    script = "set -e\n" + "\n".join(block for block in blocks if "export URL" not in block)
    done = subprocess.run(
        ["sh", "-c", script],
        env=os.environ | own,
        cwd=os.environ["FAIRTURN_DATA_DIR"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
