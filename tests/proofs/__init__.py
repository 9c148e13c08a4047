"""Proofs that take minutes: `make proofs`. Short forms of each are ordinary tests."""
