"""The second wall between members: what a partner reads is read as a role that sees its own rows only."""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from storage.postgres.engine import transaction

ROLE = "fairturn_partner"


@contextmanager
def as_member(engine: sa.Engine, member_id: int) -> Iterator[sa.Connection]:
    """One reading transaction in which Postgres itself shows this member's rows only, whatever the statements ask.

    Each partner's read goes through it. It can write nothing: whoever writes for a partner sees the row in here first.
    """
    with transaction(engine) as connection:
        connection.execute(_BECOME, {"role": ROLE, "member": str(member_id)})
        yield connection


# Local to the transaction: a pooled connection is its old self afterwards, however the transaction ends.
_BECOME = sa.text("SELECT set_config('app.member', :member, true), set_config('role', :role, true)")
