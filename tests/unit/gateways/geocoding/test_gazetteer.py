"""The file of places: made once, whole or not at all, and read by whoever comes."""

import sys
import threading
from pathlib import Path

import pytest

from gateways.geocoding.gazetteer import Gazetteer


@pytest.fixture(scope="module")
def directory(large_towns: Path) -> Path:
    Gazetteer(large_towns, 15000).warm()
    return large_towns


def test_the_file_is_made_once_and_nothing_else_is_left(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [file] = directory.glob("*.sqlite3")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")  # whoever makes a file now fails
    later = Gazetteer(directory, 15000)
    later.warm()
    assert later.zip_place("12580") is not None
    assert {one.name for one in directory.iterdir()} == {file.name, f"{file.name}.lock"}


def test_every_thread_reads_for_itself(directory: Path) -> None:
    places, found = Gazetteer(directory, 15000), list[str]()
    threads = [
        threading.Thread(target=lambda: found.append(places.cities("DE", "karlsruhe")[0].state)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["01"] * 4


def test_where_nothing_can_be_written_places_are_found_all_the_same(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    elsewhere, here = Gazetteer(tmp_path / "file" / "places", 15000), Gazetteer(directory, 15000)
    for code in ("12580", "00000", "09012"):
        assert elsewhere.zip_place(code) == here.zip_place(code)
    assert elsewhere.middle("DE") == here.middle("DE")


def test_a_file_that_could_not_be_finished_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", "/bin/false")
        with pytest.raises(OSError, match="could not be made"):
            Gazetteer(tmp_path, 15000).warm()
    assert [one.suffix for one in tmp_path.iterdir()] == [".lock"]
