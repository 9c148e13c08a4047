"""Simulations put together: where their history comes from, and how their result is shown."""
