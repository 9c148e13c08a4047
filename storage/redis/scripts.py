"""The Lua scripts, bound to a client: called by EVALSHA, loaded again when the server has forgotten them."""

from functools import cache
from importlib.resources import files

from redis.commands.core import Script

from storage.redis.client import Client


@cache
def text(name: str) -> str:
    """The source of one script, with what all of them share in front."""
    folder = files(__package__).joinpath("scripts")
    return folder.joinpath("shared.lua").read_text("utf-8") + folder.joinpath(f"{name}.lua").read_text("utf-8")


def bind(name: str, client: Client) -> Script:
    """The script, ready to be called on this client; nothing is sent yet."""
    script: Script = client.register_script(text(name))
    return script
