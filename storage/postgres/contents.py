"""Files of the policy's tables and areas: kept once, by what is in them, and never changed."""

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from routing.errors import BadInput
from storage.postgres.engine import transaction
from storage.postgres.tables import NOW, contents

#: What a table or an area may have, in bytes.
MOST_BYTES = 64 * 1024 * 1024


def digest_of(body: bytes) -> str:
    """What a file is known by."""
    return f"sha256:{sha256(body).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Held:
    """A file that is kept: how large it is, since when, and the versions of the policy that name it."""

    digest: str
    size: int
    at: datetime
    versions: tuple[int, ...]


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
            kept = insert(contents).values(digest=digest, body=body)
            connection.execute(kept.on_conflict_do_update(index_elements=["digest"], set_={"created_at": NOW}))
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
        if digest_of(bytes(body)) != digest:
            raise BadInput(
                f"the content {digest} was changed in the database",
                field="policy",
                fix="Bring its file again, or restore it from a backup.",
            )
        return bytes(body)

    def all(self) -> list[Held]:
        """Every file there is, the latest first."""
        with transaction(self._engine) as connection:
            return [Held(row.digest, row.size, row.at, tuple(row.versions)) for row in connection.execute(_ALL)]

    def remove_unused(self) -> list[str]:
        """Remove the files that no version names, but for those of the last hour, which may be named yet; which."""
        with transaction(self._engine) as connection:
            return sorted(connection.scalars(_REMOVE))


_ALL = sa.text("""
    WITH named AS (
        SELECT p.version, found[1] AS digest
        FROM policies p, LATERAL regexp_matches(p.document::text, 'sha256:[0-9a-f]{64}', 'g') AS found
    )
    SELECT c.digest, octet_length(c.body) AS size, c.created_at AS at,
           ARRAY(SELECT DISTINCT n.version FROM named n WHERE n.digest = c.digest ORDER BY 1) AS versions
    FROM contents c ORDER BY c.created_at DESC, c.digest
""")
_REMOVE = sa.text("""
    DELETE FROM contents c WHERE c.created_at < clock_timestamp() - interval '1 hour' AND c.digest NOT IN (
        SELECT found[1] FROM (SELECT document FROM policies UNION ALL SELECT document FROM shadow_runs) d,
            LATERAL regexp_matches(d.document::text, 'sha256:[0-9a-f]{64}', 'g') AS found
    ) RETURNING c.digest
""")
