"""Logins under way: a code to type or a link to follow, good for ten minutes, once, and for five tries."""

from uuid import UUID

import sqlalchemy as sa

from storage.postgres.engine import transaction

LIVES_S = 600
TRIES = 5
#: Codes for one person within an hour, so that nobody's mailbox is filled, nor their code found by asking again.
AN_HOUR = 6


class Logins:
    """The rows of logins under way."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def begin(self, login: UUID, person: UUID, *, code_hash: bytes, link_hash: bytes) -> bool:
        """Remember a code that is about to be sent; False, and nothing remembered, when too many were of late."""
        values = {"id": login, "person": person, "code": code_hash, "link": link_hash}
        with transaction(self._engine) as connection:
            connection.execute(_FORGET)
            connection.execute(_ONE_AT_A_TIME, {"person": person})
            return connection.execute(_BEGIN, values | {"lives": LIVES_S, "most": AN_HOUR}).rowcount > 0

    def by_code(self, login: UUID, code_hash: bytes) -> UUID | None:
        """Whose login this is, if the code is right; each try counts, the right one uses it up."""
        with transaction(self._engine) as connection:
            return connection.execute(_TRY, {"id": login, "code": code_hash, "tries": TRIES}).scalar()

    def by_link(self, link_hash: bytes) -> UUID | None:
        """Whose login this is; it is used up."""
        with transaction(self._engine) as connection:
            return connection.execute(_FOLLOW, {"link": link_hash}).scalar()


_ONE_AT_A_TIME = sa.text("SELECT 1 FROM people WHERE id = :person FOR UPDATE")
_BEGIN = sa.text("""
    INSERT INTO login_codes (id, person_id, code_hash, link_hash, expires_at)
    SELECT :id, :person, :code, :link, clock_timestamp() + make_interval(secs => :lives)
    WHERE :most > (
        SELECT count(*) FROM login_codes
        WHERE person_id = :person AND made_at > clock_timestamp() - interval '1 hour'
    )
""")
_TRY = sa.text("""
    WITH tried AS (
        UPDATE login_codes SET tries = tries + 1, used_at = CASE WHEN code_hash = :code THEN clock_timestamp() END
        WHERE id = :id AND used_at IS NULL AND tries < :tries AND expires_at > clock_timestamp()
        RETURNING person_id, used_at
    )
    SELECT person_id FROM tried WHERE used_at IS NOT NULL
""")
_FOLLOW = sa.text("""
    UPDATE login_codes SET used_at = clock_timestamp()
    WHERE link_hash = :link AND used_at IS NULL AND expires_at > clock_timestamp() RETURNING person_id
""")
_FORGET = sa.text("""
    DELETE FROM login_codes WHERE id IN (
        SELECT id FROM login_codes WHERE made_at < clock_timestamp() - interval '1 day' FOR UPDATE SKIP LOCKED LIMIT 200
    )
""")
