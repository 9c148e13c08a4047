"""Settings: a value of the wrong type is one error that names the variable and the fix, and never shows a secret."""

from pathlib import Path

import pytest

from config.settings import LEAST_DAYS_KEPT, load
from routing.errors import BadInput
from storage.postgres.retention import LEAST_DAYS


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    load.cache_clear()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("FAIRTURN_WEB_PORT", "abc"),
        ("FAIRTURN_WEB_PORT", "0"),
        ("FAIRTURN_WORKER_CONCURRENCY", "1.5"),
        ("FAIRTURN_GEOCODER_RATE_PER_S", "fast"),
        ("FAIRTURN_GEOCODER_RATE_PER_S", "nan"),
        ("FAIRTURN_GEOCODER_TIMEOUT_S", "inf"),
        ("FAIRTURN_LOG_LEVEL", "loud"),
        ("FAIRTURN_LOG_FORMAT", "xml"),
        ("DATABASE_URL", "mysql://us:hidden@host/name"),
        ("REDIS_URL", "host:6379"),
        ("FAIRTURN_BROKER_URL", "amqp://us:hidden@host"),
        ("FAIRTURN_TURNSTILE_URL", "hidden"),
        ("SALESFORCE_AUTH", "password"),
        ("SALESFORCE_LOGIN_URL", "example.my.salesforce.com"),
        ("SALESFORCE_API_VERSION", "v64"),
        ("SALESFORCE_PUBSUB", "https://api.pubsub.salesforce.com"),
        ("SALESFORCE_PUBSUB_PLAINTEXT", "perhaps"),
        ("SALESFORCE_REPLAY", "NOW"),
        ("SALESFORCE_TOPIC", "LeadChangeEvent"),
    ],
)
def test_a_wrong_value_is_refused_by_its_variable_with_the_fix(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(BadInput) as refused:
        load()
    assert refused.value.field == variable
    assert refused.value.fix.endswith(f".env.example explains {variable}.")
    assert "hidden" not in f"{refused.value} {refused.value.__cause__}"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", "postgresql+psycopg://u:p@/name?host=/tmp"),
        ("DATABASE_URL", "postgres://host/name"),
        ("REDIS_URL", "unix:///run/valkey.sock"),
        ("REDIS_URL", "rediss://:p@host"),
        ("SALESFORCE_PUBSUB", "127.0.0.1:7011"),
        ("SALESFORCE_TOPIC", "/data/Leads__chn"),
        ("SALESFORCE_LOGIN_URL", "http://127.0.0.1:8080"),
    ],
)
def test_every_usual_spelling_is_taken(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    assert value in load().model_dump().values()


@pytest.mark.parametrize("days", ["1", "59", "-1"])
def test_rows_that_may_still_be_in_use_cannot_be_removed(monkeypatch: pytest.MonkeyPatch, days: str) -> None:
    monkeypatch.setenv("FAIRTURN_KEEP_DAYS", days)
    with pytest.raises(BadInput) as refused:
        load()
    assert refused.value.field == "FAIRTURN_KEEP_DAYS"
    assert LEAST_DAYS == LEAST_DAYS_KEPT
