import pytest
from pydantic import ValidationError

from config import flower_door
from config.settings import Settings
from storage.redis.address import Address

SENTINELS = "sentinel://ann:p%40ss@one:26379,[::1]:26380/3?master=turns&sentinel_password=watch"


def test_sentinels_are_told_to_celery_in_its_own_words() -> None:
    url, options = Address.of(SENTINELS).for_celery()
    assert url == "sentinel://ann:p%40ss@one:26379/3;sentinel://ann:p%40ss@[::1]:26380/3"
    assert options == {"master_name": "turns", "sentinel_kwargs": {"password": "watch"}}


def test_a_single_server_is_told_to_celery_as_it_is() -> None:
    assert Address.of("rediss://:secret@host:6379/2").for_celery() == ("rediss://:secret@host:6379/2", {})


def test_passwords_are_read_and_not_shown() -> None:
    address = Address.of(SENTINELS)
    assert (address.username, address.password, address.sentinel_password) == ("ann", "p@ss", "watch")
    assert "p@ss" not in repr(address)
    assert "watch" not in repr(address)


def test_a_cluster_names_some_of_its_nodes() -> None:
    address = Address.of("rediss+cluster://turnstile:secret@one:6379,two:6380")
    assert (address.kind, address.hosts, address.tls) == ("cluster", (("one", 6379), ("two", 6380)), True)


def test_flower_is_shown_the_first_sentinel() -> None:
    assert flower_door.broker_url(Settings(broker_url=SENTINELS)) == "sentinel://ann:p%40ss@one:26379/3"


@pytest.mark.parametrize(
    ("field", "url"),
    [
        ("broker_url", "redis+cluster://one:6379"),  # Celery knows no cluster
        ("redis_url", "redis+cluster://one:6379"),
        ("broker_url", "sentinel://one:26379/0"),  # which primary?
        ("broker_url", "sentinel://one/0?master=turns"),
        ("turnstile_url", "redis+cluster://one"),
        ("turnstile_url", "redis+cluster://one:6379,"),
        ("turnstile_url", "http://one:6379"),
    ],
)
def test_an_address_that_leads_nowhere_is_refused(field: str, url: str) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({field: url})


def test_database_numbers_are_put_into_addresses_of_sentinels() -> None:
    cfg = Settings(redis_url="sentinel://:secret@one:26379,two:26379?master=turns")
    assert Address.of(cfg.broker()).database == 0
    assert Address.of(cfg.turnstile()).database == 1
    assert Address.of(cfg.turnstile()).master == "turns"
