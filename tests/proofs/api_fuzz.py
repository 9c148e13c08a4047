"""The API under 20,000 requests made up from its own document: no answer is a mistake of ours.

    CASES=20000 python -m tests.proofs.api_fuzz

The tests of tests/integration/web/test_fuzz.py, what partners ask and what the house asks, so many each, with every
phase of schemathesis and the patience that takes.
"""

import os
import sys

import pytest

ONE = "tests/integration/web/test_fuzz.py"


def main() -> int:
    os.environ.setdefault("CASES", "20000")
    return pytest.main([ONE, "-q", "-s", "--timeout=10800", "-p", "no:cacheprovider", "--log-level=ERROR"])


if __name__ == "__main__":
    sys.exit(main())
