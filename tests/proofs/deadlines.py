"""O2 in full: ten thousand open offers, whose deadlines pass within a minute, end at most two seconds late (p99).

    OFFERS=10000 SPREAD_S=60 python -m tests.proofs.deadlines

The test of tests/integration/routing/test_deadlines.py with the number and the patience it needs.
"""

import os
import sys

import pytest


def main() -> int:
    os.environ.setdefault("OFFERS", "10000")
    os.environ.setdefault("SPREAD_S", "60")
    deadlines = "tests/integration/routing/test_deadlines.py"
    return pytest.main([deadlines, "-q", "-s", "--timeout=3600", "-p", "no:cacheprovider", "--durations=1"])


if __name__ == "__main__":
    sys.exit(main())
