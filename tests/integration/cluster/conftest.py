"""The cluster and the watched pair of this test session's worker; a test that breaks one starts its own."""

from collections.abc import Iterator

import pytest

from tests.integration.cluster.servers import Cluster, running_cluster


@pytest.fixture(scope="package")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three primaries and three replicas, with nothing in them that a test minds."""
    with running_cluster(tmp_path_factory.mktemp("cluster") / "nodes") as made:
        yield made
