"""A pretend Salesforce and a ledger of its own for each test."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from gateways.salesforce.auth import ClientCredentials, TokenProvider
from gateways.salesforce.mapping import FieldMap
from gateways.salesforce.rest import Salesforce
from storage.postgres.engine import connect
from tests.sandbox_fixture import SandboxOrg, running_sandbox


@pytest.fixture(scope="package")
def running_org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxOrg]:
    with running_sandbox(tmp_path_factory.mktemp("org"), "--keepalive-s", "1") as running:
        yield running


@pytest.fixture
def org(running_org: SandboxOrg) -> SandboxOrg:
    """An org as it was born, with a keepalive each second."""
    running_org.admin("POST", "reset")
    running_org.session.headers.pop("X-Own-Token", None)
    return running_org


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    engine = connect(database_url.replace("postgresql://", "postgresql+psycopg://"))
    yield engine
    engine.dispose()


@pytest.fixture
def tokens(org: SandboxOrg) -> TokenProvider:
    return TokenProvider(org.login_url, ClientCredentials("app", "secret"), ca_file=org.ca)


@pytest.fixture
def salesforce(org: SandboxOrg, tokens: TokenProvider) -> Salesforce:
    return Salesforce(tokens, FieldMap.load(), ca_file=org.ca)
