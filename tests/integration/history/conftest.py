"""A house on fresh servers, with a policy published."""

from tests.integration.routing.conftest import house

__all__ = ["house"]
