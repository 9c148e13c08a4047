"""The turnstile in memory, as tests call it; the product simulates with the same one."""

from routing.simulation.turnstile import MemoryTurnstile as FakeTurnstile

__all__ = ["FakeTurnstile"]
