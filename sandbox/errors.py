"""What the org refuses, in Salesforce's own words."""

from dataclasses import dataclass
from typing import Any


class RecordError(Exception):
    """One record was refused; the others of its request may go on."""

    def __init__(self, code: str, message: str, fields: tuple[str, ...] = (), status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.fields = fields
        self.status = status

    def as_collection_error(self) -> dict[str, Any]:
        return {"statusCode": self.code, "message": self.message, "fields": list(self.fields)}


@dataclass
class ApiError(Exception):
    """The whole request was refused."""

    status: int
    code: str
    message: str
    fields: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()

    def body(self) -> list[dict[str, Any]]:
        entry: dict[str, Any] = {"message": self.message, "errorCode": self.code}
        return [{**entry, "fields": list(self.fields)} if self.fields else entry]


def refused(error: RecordError) -> ApiError:
    """A record's refusal as the answer of a request about that one record."""
    return ApiError(error.status, error.code, error.message, error.fields)


def bad_json(message: str) -> ApiError:
    return ApiError(400, "JSON_PARSER_ERROR", message)
