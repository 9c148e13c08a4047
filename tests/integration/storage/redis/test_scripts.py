"""Each script's header tells all it takes."""

import re
from importlib.resources import files

import pytest

FOLDER = files("storage.redis").joinpath("scripts")
NAMES = sorted(f.name for f in FOLDER.iterdir() if f.name.endswith(".lua") and f.name != "shared.lua")


@pytest.mark.parametrize("name", NAMES)
def test_every_key_and_argument_a_script_uses_is_told_in_its_header(name: str) -> None:
    text = FOLDER.joinpath(name).read_text("utf-8")
    header, _, body = text.partition("]]")
    assert header.startswith("--[[ ")
    told = header
    for first, last in re.findall(r"KEYS\[(\d+)\.\.(\d+)\]", header):
        told += "".join(f" KEYS[{n}]" for n in range(int(first), int(last) + 1))
    for used in set(re.findall(r"(?:KEYS|ARGV)\[\d+\]", body)):
        assert used in told or (used.startswith("ARGV") and "ARGV[1..]" in header), used
