"""O6 in full: ten thousand accepts race ten thousand deadlines, one after the other; each has one winner.

    RACES=10000 python -m tests.proofs.answers

The races of tests/integration/routing/test_races.py with the number and the patience they need.
"""

import os
import sys

import pytest


def main() -> int:
    os.environ.setdefault("RACES", "10000")
    races = "tests/integration/routing/test_races.py"
    return pytest.main([races, "-q", "--timeout=3600", "-p", "no:cacheprovider", "--durations=2", "-k", "O6"])


if __name__ == "__main__":
    sys.exit(main())
