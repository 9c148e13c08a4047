"""Files of the policy's tables and areas: kept once, by what is in them, and never changed."""

from hashlib import sha256

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from routing.errors import BadInput
from storage.postgres.engine import transaction
from storage.postgres.tables import contents

#: What a table or an area may have, in bytes.
MOST_BYTES = 64 * 1024 * 1024


def digest_of(body: bytes) -> str:
    """What a file is known by."""
    return f"sha256:{sha256(body).hexdigest()}"


class Contents:
    """The files there are. Each method is one transaction, and safe to repeat."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def put(self, body: bytes, /) -> str:
        """Keep a file; its digest. Raises BadInput when it is too large."""
        if len(body) > MOST_BYTES:
            raise BadInput(
                f"{len(body):,} bytes are more than {MOST_BYTES // 1024 // 1024} MB",
                field="contents",
                fix="Leave out columns that no rule asks, or simplify outlines.",
            )
        digest = digest_of(body)
        with transaction(self._engine) as connection:
            values = {"digest": digest, "body": body}
            connection.execute(insert(contents).values(values).on_conflict_do_nothing())
        return digest

    def get(self, digest: str, /) -> bytes:
        """The file of a digest. Raises BadInput when it is not here."""
        with transaction(self._engine) as connection:
            body = connection.scalar(sa.select(contents.c.body).where(contents.c.digest == digest))
        if body is None:
            raise BadInput(
                f"the content {digest} is not here",
                field="policy",
                fix="Bring its file: fairturn policy table NAME FILE.csv, or fairturn policy area NAME FILE.geojson.",
            )
        return bytes(body)
