"""Tokens: OAuth 2 for programs and devices, a code by mail for people."""
