"""Every setting, read once from the environment (and `.env`), each explained in `.env.example`."""

import re
from functools import cache
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from routing.errors import BadInput
from storage.redis import address


def plain(name: str) -> AliasChoices:
    """A setting whose environment name carries no FAIRTURN_ prefix, because the world already knows it."""
    return AliasChoices(name)


def _comma_list(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


#: As storage.postgres.retention has it: what is younger may still be in use.
LEAST_DAYS_KEPT = 60
CommaList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_list)]
#: Settings that may hold a password or a key: never shown.
PRIVATE = frozenset({"database_url", "redis_url", "broker_url", "turnstile_url", "geocoder_keys", "notify_urls"})

_REDIS = rf"^({address.SERVER}|{address.SENTINEL})?$"
_REDIS_OR_CLUSTER = rf"^({address.SERVER}|{address.SENTINEL}|{address.CLUSTER})?$"
_HOST_AND_PORT = r"^[^\s:/]+:\d{1,5}$"
_EXAMPLES = {
    "DATABASE_URL": "postgresql://user:password@host:5432/name",
    "REDIS_URL": "redis://:password@host:6379",
    "FAIRTURN_BROKER_URL": "redis://broker:password@host:6379/0",
    "FAIRTURN_TURNSTILE_URL": "redis://turnstile:password@host:6379/1",
    "SALESFORCE_LOGIN_URL": "https://example.my.salesforce.com",
    "SALESFORCE_PUBSUB": "api.pubsub.salesforce.com:7443",
    "SALESFORCE_TOPIC": "/data/LeadChangeEvent",
    "SALESFORCE_API_VERSION": "64.0",
    "FAIRTURN_PUBLIC_URL": "https://leads.example.com",
    "FAIRTURN_OIDC_ISSUER": "https://login.example.com/realms/staff",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
}


def _kept(days: int) -> int:
    if 0 < days < LEAST_DAYS_KEPT:
        raise ValueError(
            f"what is younger than {LEAST_DAYS_KEPT} days may still be in use: give more, or 0 to keep all"
        )
    return days


class Settings(BaseSettings):
    """Fairturn's settings; an empty URL means "the embedded server" where there is one."""

    model_config = SettingsConfigDict(
        env_prefix="FAIRTURN_",
        env_file=".env",
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        env_ignore_empty=True,
    )

    # --- where things are
    data_dir: Path = Path(".fairturn")
    database_url: str = Field(
        "", validation_alias=plain("DATABASE_URL"), pattern=r"^(postgres(ql)?(\+psycopg)?://.+)?$"
    )
    redis_url: str = Field("", validation_alias=plain("REDIS_URL"), pattern=_REDIS)
    broker_url: str = Field("", pattern=_REDIS)
    turnstile_url: str = Field("", pattern=_REDIS_OR_CLUSTER)
    policy_file: Path | None = None
    policy_approvals: int = Field(1, ge=1, le=5)
    places_dir: Path | None = None

    # --- Salesforce
    salesforce_login_url: str = Field("", validation_alias=plain("SALESFORCE_LOGIN_URL"), pattern=r"^(https?://\S+)?$")
    salesforce_auth: Literal["client_credentials", "jwt"] = Field(
        "client_credentials", validation_alias=plain("SALESFORCE_AUTH")
    )
    salesforce_client_id: str = Field("", validation_alias=plain("SALESFORCE_CLIENT_ID"))
    salesforce_client_secret: SecretStr = Field(SecretStr(""), validation_alias=plain("SALESFORCE_CLIENT_SECRET"))
    salesforce_username: str = Field("", validation_alias=plain("SALESFORCE_USERNAME"))
    salesforce_private_key_file: Path | None = Field(None, validation_alias=plain("SALESFORCE_PRIVATE_KEY_FILE"))
    salesforce_audience: str = Field("https://login.salesforce.com", validation_alias=plain("SALESFORCE_AUDIENCE"))
    salesforce_api_version: Annotated[str, Field(pattern=r"^\d+\.0$")] = Field(
        "64.0", validation_alias=plain("SALESFORCE_API_VERSION")
    )
    salesforce_pubsub: str = Field(
        "api.pubsub.salesforce.com:7443", validation_alias=plain("SALESFORCE_PUBSUB"), pattern=_HOST_AND_PORT
    )
    salesforce_pubsub_plaintext: bool = Field(False, validation_alias=plain("SALESFORCE_PUBSUB_PLAINTEXT"))
    salesforce_ca_file: Path | None = Field(None, validation_alias=plain("SALESFORCE_CA_FILE"))
    salesforce_topic: str = Field(
        "/data/LeadChangeEvent", validation_alias=plain("SALESFORCE_TOPIC"), pattern=r"^/data/\w+$"
    )
    salesforce_replay: Literal["LATEST", "EARLIEST"] = Field("EARLIEST", validation_alias=plain("SALESFORCE_REPLAY"))
    salesforce_silence_s: float = Field(
        300.0, validation_alias=plain("SALESFORCE_SILENCE_S"), gt=0, allow_inf_nan=False
    )
    salesforce_keepalive_s: float = Field(
        60.0, validation_alias=plain("SALESFORCE_KEEPALIVE_S"), ge=10, allow_inf_nan=False
    )
    salesforce_client_name: str = Field("Fairturn", validation_alias=plain("SALESFORCE_CLIENT_NAME"))
    salesforce_mapping_file: Path | None = Field(None, validation_alias=plain("SALESFORCE_MAPPING_FILE"))
    salesforce_api_share: float = Field(0.8, gt=0, le=1, validation_alias=plain("SALESFORCE_API_SHARE"))
    salesforce_api_calls: int = Field(0, ge=0, validation_alias=plain("SALESFORCE_API_CALLS"))
    salesforce_write_tries: int = Field(100, ge=1, validation_alias=plain("SALESFORCE_WRITE_TRIES"))
    salesforce_members_every_s: float = Field(
        30.0, ge=0, validation_alias=plain("SALESFORCE_MEMBERS_EVERY_S"), allow_inf_nan=False
    )
    salesforce_offer_object: bool = Field(False, validation_alias=plain("SALESFORCE_OFFER_OBJECT"))

    # --- geocoding
    geocoders: CommaList = ("offline",)
    geocoder_rate_per_s: float = Field(1.0, gt=0, allow_inf_nan=False)
    geocoder_timeout_s: float = Field(3.0, gt=0, allow_inf_nan=False)
    geocoder_user_agent: str = "fairturn"
    geocoder_keys: CommaList = ()  # provider=key pairs
    geocoder_nominatim_domain: str = ""  # your own Nominatim, such as http://geo.example.com:8080

    # --- faces
    web_host: str = "127.0.0.1"
    web_port: int = Field(8000, ge=1, le=65535)
    api_token: SecretStr = SecretStr("")  # empty: only callers on this machine are let in
    public_url: str = Field("", pattern=r"^(https?://[^\s/?#@]+)?$")
    secret: SecretStr = SecretStr("")  # what keys and addresses in the ledger are sealed under
    oidc_issuer: str = Field("", pattern=r"^(https?://[^\s?#@]+)?$")
    oidc_audience: str = ""
    api_per_minute: int = Field(600, ge=1)
    flower_host: str = "127.0.0.1"
    flower_port: int = Field(5555, ge=1, le=65535)
    flower_user: str = "operator"
    flower_password: SecretStr = SecretStr("")

    # --- telling members
    notify_urls: CommaList = ()  # channel=URL pairs
    notify_fallback_s: float = Field(300.0, gt=0, allow_inf_nan=False)
    notify_hot_in_quiet_hours: bool = False
    notify_loopback: bool = False

    # --- traces
    otlp_endpoint: str = Field("", validation_alias=plain("OTEL_EXPORTER_OTLP_ENDPOINT"), pattern=r"^(https?://\S+)?$")
    trace_share: float = Field(1.0, ge=0, le=1, allow_inf_nan=False)
    deployment: str = "production"

    # --- behaviour
    nightly_hour: int = Field(8, ge=0, le=23)
    seal_every_s: float = Field(30.0, ge=0, allow_inf_nan=False)
    keep_days: Annotated[int, AfterValidator(_kept)] = Field(0, ge=0, le=36_500)
    worker_concurrency: int = Field(2, ge=1)
    bulk_concurrency: int = Field(1, ge=1)
    bulk_per_minute: int = Field(300, ge=1)
    hot_priority: int = Field(1, ge=1)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "text"] = "json"

    def face(self) -> str:
        """Where others find the web process: what links begin with, and what tokens name as their issuer."""
        return self.public_url or f"http://{self.web_host}:{self.web_port}"

    def places(self) -> Path:
        """Where the offline geocoder keeps its file."""
        return self.places_dir or self.data_dir / "places"

    def broker(self) -> str:
        """The Celery broker's URL: database 0 of REDIS_URL unless set apart."""
        return self.broker_url or (self.redis_url and with_database(self.redis_url, 0))

    def turnstile(self) -> str:
        """The turnstile's URL: database 1 of REDIS_URL unless set apart."""
        return self.turnstile_url or (self.redis_url and with_database(self.redis_url, 1))

    def sqlalchemy_url(self) -> str:
        """DATABASE_URL with the driver named."""
        return re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql+psycopg://", self.database_url)


def with_database(url: str, number: int) -> str:
    """The URL of another database of the same server."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return f"{url.split('?', maxsplit=1)[0]}?db={number}"
    return urlunsplit(parts._replace(path=f"/{number}"))


@cache
def load() -> Settings:
    """The settings of this process. Raises BadInput naming the first wrong variable and the fix."""
    try:
        return Settings()
    except ValidationError as exc:
        raise _wrong(exc.errors()[0]) from None  # the foreign error quotes the value, which may be a secret


def _wrong(error: ErrorDetails) -> BadInput:
    name = str(error["loc"][0])
    variable = name if name.isupper() else f"FAIRTURN_{name.upper()}"
    now = "" if variable.removeprefix("FAIRTURN_").lower() in PRIVATE else f"It is {str(error['input'])[:60]!r} now. "
    example = f"Write it like {_EXAMPLES[variable]}" if variable in _EXAMPLES else "Give another value, or unset it"
    message = "it is not written as it should be" if error["type"] == "string_pattern_mismatch" else error["msg"]
    return BadInput(message, field=variable, fix=f"{now}{example}; .env.example explains {variable}.")
