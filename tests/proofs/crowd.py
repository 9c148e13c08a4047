"""F11 and X2 in full: two hundred workers come to the turns that one would have given.

    LEADS=10000 python -m tests.proofs.crowd

The tests of tests/integration/lanes/test_many_workers.py with 10,000 leads and the patience they need.
"""

import os
import sys

import pytest

ONE = "tests/integration/lanes/test_many_workers.py"


def main() -> int:
    os.environ.setdefault("LEADS", "10000")
    return pytest.main([ONE, "-q", "--timeout=3600", "-p", "no:cacheprovider", "--durations=2"])


if __name__ == "__main__":
    sys.exit(main())
