"""Who may do what: roles and the scopes that each can have."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal
from uuid import UUID

from routing.errors import Refused


class Scope(StrEnum):
    """What a caller may be allowed to do."""

    OFFERS_READ = "offers:read"
    OFFERS_ANSWER = "offers:answer"
    ME_READ = "me:read"
    ME_WRITE = "me:write"
    TEAM_MANAGE = "team:manage"
    HOOKS_MANAGE = "hooks:manage"
    EVENTS_READ = "events:read"
    NETWORK = "network"  # act for any member, named with each request
    OPERATE = "operate"  # read everything of the house
    MANAGE = "manage"  # take offers back, let leads go on


#: What is done for one member, whose caller must belong to it or name it.
OF_A_MEMBER = frozenset(
    {
        Scope.OFFERS_READ,
        Scope.OFFERS_ANSWER,
        Scope.ME_READ,
        Scope.ME_WRITE,
        Scope.TEAM_MANAGE,
        Scope.HOOKS_MANAGE,
        Scope.EVENTS_READ,
    }
)


class Role(StrEnum):
    """What a person is; the first two belong to a member."""

    PARTNER = "partner"
    PARTNER_ADMIN = "partner_admin"
    OPERATOR = "operator"
    MANAGER = "manager"


#: Not a role of people: programs have the scopes they were given.
PROGRAM = "program"

SCOPES: dict[Role, frozenset[Scope]] = {
    Role.PARTNER: OF_A_MEMBER - {Scope.TEAM_MANAGE, Scope.HOOKS_MANAGE},
    Role.PARTNER_ADMIN: OF_A_MEMBER,
    Role.OPERATOR: frozenset({Scope.OPERATE}),
    Role.MANAGER: frozenset({Scope.OPERATE, Scope.MANAGE}),
}


class LoginRefused(Refused):
    """The code is wrong, used or too old; ask for a new one."""


Kind = Literal["person", "client", "key", "operator"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls, and what they may do here."""

    kind: Kind
    id: str
    member_id: int | None  # whose offers they may see; None: nobody's
    role: str
    scopes: frozenset[str]
    person_id: UUID | None = None
    language: str = "en"


@dataclass(frozen=True, slots=True)
class Outsider:
    """Whom an outside issuer means: its own name for the person, and the address if it has verified that."""

    subject: str
    email: str | None
    until: int  # seconds since 1970


def granted(asked: Iterable[str], allowed: Iterable[str]) -> frozenset[str]:
    """What of the asked scopes is allowed; all that is allowed where nothing was asked."""
    have = frozenset(map(str, allowed))
    wanted = frozenset(asked)
    return have & wanted if wanted else have
