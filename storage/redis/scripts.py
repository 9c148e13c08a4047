"""The Lua scripts, bound to a client: called by EVALSHA, sent whole when the server has forgotten them."""

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Protocol

from redis.exceptions import NoScriptError

from storage.redis.client import Client


class Script(Protocol):
    """Called with the keys and the arguments, all of one hash slot."""

    def __call__(self, keys: Sequence[str], args: Sequence[str | int | bytes]) -> Any: ...


@cache
def text(name: str) -> str:
    """The source of one script, with what all of them share in front."""
    folder = files(__package__).joinpath("scripts")
    return folder.joinpath("shared.lua").read_text("utf-8") + folder.joinpath(f"{name}.lua").read_text("utf-8")


def bind(name: str, client: Client) -> Script:
    """The script, ready to be called on this client; nothing is sent yet.

    On a cluster it goes to the node of its keys alone: redis-py's own scripts are loaded into every node, which no
    node that is down may hinder.
    """
    source = text(name)
    sha = hashlib.sha1(source.encode("utf-8"), usedforsecurity=False).hexdigest()

    def call(keys: Sequence[str], args: Sequence[str | int | bytes]) -> Any:
        try:
            return client.evalsha(sha, len(keys), *keys, *args)
        except NoScriptError:
            return client.eval(source, len(keys), *keys, *args)

    return call
