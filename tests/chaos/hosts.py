"""Hosts of their own: network namespaces joined to this machine by a cable that can be pulled."""

import os
import subprocess
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Host:
    """One namespace, and the address under which this machine is seen from there."""

    name: str
    cable: str
    gateway: str
    address: str

    def enter(self) -> list[str]:
        """What stands before a command that is to run there."""
        return ["ip", "netns", "exec", self.name]

    def pull(self) -> None:
        """Cut it off: nothing arrives, nobody is told."""
        _ip("link", "set", self.cable, "down")

    def plug(self) -> None:
        _ip("link", "set", self.cable, "up")

    def remove(self) -> None:
        _ip("netns", "del", self.name)
        _ip("link", "del", self.cable)


def made(number: int) -> Host | None:
    """A new host; None where namespaces are refused."""
    unique = f"{os.getpid() % 100_000}{chr(ord('a') + number)}"
    net = f"10.{os.getpid() % 200 + 20}.{number + 1}"
    host = Host(f"ft{unique}", f"ftc{unique}", f"{net}.1", f"{net}.2")
    inside = f"fti{unique}"
    steps = [
        ("netns", "add", host.name),
        ("link", "add", host.cable, "type", "veth", "peer", "name", inside),
        ("link", "set", inside, "netns", host.name),
        ("addr", "add", f"{host.gateway}/24", "dev", host.cable),
        ("link", "set", host.cable, "up"),
        ("-n", host.name, "addr", "add", f"{host.address}/24", "dev", inside),
        ("-n", host.name, "link", "set", inside, "up"),
        ("-n", host.name, "link", "set", "lo", "up"),
    ]
    if os.getuid() == 0 and all(_ip(*step) for step in steps):
        return host
    host.remove()
    return None


def _ip(*arguments: str) -> bool:
    try:
        return subprocess.run(["ip", *arguments], check=False, capture_output=True).returncode == 0
    except OSError:
        return False
