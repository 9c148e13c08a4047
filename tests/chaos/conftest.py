"""The pretend Salesforce for the runner's own tests."""

from tests.sandbox_fixture import sandbox_org, sandbox_process

__all__ = ["sandbox_org", "sandbox_process"]
