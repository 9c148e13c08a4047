"""Every foreseen failure, named by what to do next."""


class FairturnError(Exception):
    """Something we foresaw went wrong."""

    def __init__(self, message: str = "", **facts: object) -> None:
        super().__init__(message or (self.__doc__ or "").strip())
        self.facts = facts


class TryLater(FairturnError):  # noqa: N818 - named by the next action, as all three are
    """A neighbour is unwell; the same call may work in a while."""


class GiveUp(FairturnError):  # noqa: N818
    """Trying again cannot help; a person should look."""


class Refused(FairturnError):  # noqa: N818
    """The rules say no."""


class Away(TryLater):
    """A whole neighbour is unwell: it is no use to try piece by piece."""


class ColdTurnstile(Away):
    """The turnstile is not of the ledger's generation: rebuild it, then ask again."""


class LedgerUnreachable(Away):
    """Postgres does not answer."""


class LedgerOutdated(Away):
    """The ledger has not the tables of this version: run `fairturn migrate`."""


class TurnstileUnreachable(Away):
    """Redis does not answer."""


class BadInput(GiveUp):
    """The input cannot be used as it is: `field` says where, `fix` says how to mend it."""

    def __init__(self, message: str, *, field: str, fix: str, **facts: object) -> None:
        super().__init__(f"{field}: {message}. {fix}", field=field, fix=fix, **facts)
        self.field = field
        self.fix = fix
