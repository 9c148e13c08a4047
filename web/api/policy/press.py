"""What the routes of the policy share: who asks, which version, in which edition."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Header, Path
from starlette.responses import JSONResponse, Response

from config.publisher import Publisher
from routing.access import Principal
from routing.versions import Writer
from storage.postgres.people import People
from storage.postgres.policy_reader import NoPolicy, Trouble
from web.api.partner.once import Once
from web.api.policy.models import HIGHEST

Number = Annotated[int, Path(ge=1, le=HIGHEST, description="The version's number.")]
IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        pattern=r'^(\*|"\d{1,9}")$',
        description="The ETag of the version as you saw it. When it has changed since, nothing happens: 412.",
        examples=['"1"'],
    ),
]


@dataclass(frozen=True, slots=True)
class Press:
    """What the routes need."""

    publisher: Callable[[], Publisher]
    people: Callable[[], People]
    once: Once
    unread: Callable[[], Trouble | None]  # what is wrong with the version in force

    def trouble(self) -> str | None:
        """What is wrong with the version in force, in words."""
        try:
            found = self.unread()
        except NoPolicy as exc:
            return str(exc)
        return found.told if found else None

    def writer(self, principal: Principal) -> Writer:
        """Who asks: a person by name, whatever else by its kind."""
        person = self.people().get(principal.person_id) if principal.person_id else None
        if person is None:
            return Writer(f"{principal.kind}:{principal.id}")
        return Writer(person.name, person.id, person.manages)


def edition(if_match: str | None) -> int | None:
    """The edition that is to be changed; None: whichever it is."""
    return int(if_match.strip('"')) if if_match and if_match != "*" else None


def answer(made: Response) -> Any:
    """The response as it is; its ETag is the version's edition, also when it is given once more."""
    if made.status_code < 400 and isinstance(made, JSONResponse):
        body = json.loads(bytes(made.body))
        made.headers["ETag"] = f'"{body["edition"]}"'
    return made
