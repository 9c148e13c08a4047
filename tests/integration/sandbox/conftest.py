"""The sandbox is a process of its own here."""

from tests.sandbox_fixture import sandbox_org, sandbox_process

__all__ = ["sandbox_org", "sandbox_process"]
