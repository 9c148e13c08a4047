"""The pictures in the README: `make screenshots` writes them anew, from the pages as they are."""

import os
import re
from base64 import b64encode
from pathlib import Path

import pytest
from click.testing import CliRunner
from playwright.sync_api import Browser

from tests.browser.conftest import Phone, Town
from workers.cli import cli

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
#: Set by `make screenshots`: the folder to write to.
FOLDER = "SCREENSHOTS"
WIDTH, HEIGHT = 340, 660
FRAME = "width:{width}px;border:6px solid #2a322d;border-radius:28px;display:block"


@pytest.mark.long
def test_the_pictures_can_be_made(town: Town, browser: Browser, tmp_path: Path) -> None:
    folder = Path(os.environ.get(FOLDER) or tmp_path)
    size = {"width": WIDTH, "height": HEIGHT}
    member = town.installer(lat=40.05)
    light = town.phone(town.person(member, "Ana"), viewport=size, device_scale_factor=1.5)
    dark = town.phone(
        town.person(member, "Ben", language="de", units="km"),
        viewport=size,
        device_scale_factor=1.5,
        color_scheme="dark",
    )
    town.lead("lead-1")
    town.lead("lead-2", attributes={"product": "Heat pump", "size": "12 kW"}, city="Albany", lat=40.06)
    for phone in (light, dark):
        phone.sees("Solar roof, 8 kW")
        phone.sees("Heat pump, 12 kW")
    shots = [light.page.screenshot()]
    dark.tap("Ablehnen")
    dark.sees("Warum lehnen Sie ab?")
    shots.append(dark.page.screenshot())
    accept(light)
    shots.insert(1, light.page.screenshot())
    picture = folder / "app.png"
    side_by_side(browser, shots, picture)
    assert 10_000 < picture.stat().st_size < 300_000


@pytest.mark.long
def test_the_picture_of_a_simulation_is_of_what_the_readme_does(browser: Browser, tmp_path: Path) -> None:
    policy, added = ROOT / "config" / "policy.yaml", re.search(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert added is not None
    draft, report = tmp_path / "draft.yaml", tmp_path / "report.html"
    draft.write_text(policy.read_text("utf-8") + added[1], "utf-8")
    files = ["--leads", ROOT / "data" / "sample_leads_ny.csv", "--members", ROOT / "data" / "sample_members.csv"]
    asked = ["simulate", draft, "--against", policy, *files, "--html", report]
    said = CliRunner().invoke(cli, [str(one) for one in asked])
    assert said.exit_code == 0, said.output
    picture = Path(os.environ.get(FOLDER) or tmp_path) / "simulation.png"
    page = browser.new_page(viewport={"width": 1100, "height": 820})
    page.goto(report.as_uri())
    page.get_by_role("heading", name="At a glance").wait_for()
    page.screenshot(path=picture)
    page.close()
    assert 20_000 < picture.stat().st_size < 300_000


def accept(phone: Phone) -> None:
    phone.tap("Accept")
    phone.sees("Your customer")
    phone.page.get_by_role("button", name="Dismiss").first.click()
    phone.page.mouse.move(0, 0)


def side_by_side(browser: Browser, shots: list[bytes], picture: Path) -> None:
    phones = "".join(f'<img src="data:image/png;base64,{b64encode(shot).decode()}">' for shot in shots)
    page = browser.new_page(
        viewport={"width": (WIDTH // 4 * 3 + 40) * len(shots), "height": HEIGHT // 4 * 3 + 40}, device_scale_factor=1.5
    )
    style = f"img{{{FRAME.format(width=WIDTH // 4 * 3)}}} body{{margin:0;display:flex;gap:20px;padding:10px}}"
    page.set_content(f"<style>{style}</style>{phones}")
    page.screenshot(path=picture, omit_background=True)
    page.close()
