"""The ledger's tables of who may come in; secrets are kept as hashes, or sealed where they are needed."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB, UUID

from storage.postgres.tables.base import NOW, Bool, Int, Small, Text, Time, metadata

Uuid = UUID(as_uuid=True)

people = sa.Table(
    "people",
    metadata,
    sa.Column("id", Uuid, primary_key=True, server_default=sa.text("gen_random_uuid()")),
    sa.Column("member_id", Int, sa.ForeignKey("members.id", ondelete="CASCADE")),  # NULL: one of our own
    sa.Column("role", Text, nullable=False),  # routing.access.Role
    sa.Column("name", Text, nullable=False),
    sa.Column("email", Text, nullable=False, unique=True),
    sa.Column("phone", Text, nullable=False, server_default=""),
    sa.Column("language", Text, nullable=False, server_default="en"),
    sa.Column("units", Text, nullable=False, server_default="mi"),
    sa.Column("time_zone", Text, nullable=False, server_default=""),  # of the quiet hours; '' is UTC
    sa.Column("quiet_from", sa.Time),
    sa.Column("quiet_to", sa.Time),
    sa.Column("active", Bool, nullable=False, server_default="true"),
    sa.Column("token_version", Int, nullable=False, server_default="1"),  # raised when every token of theirs must end
    sa.Column("outside_subject", Text, unique=True),  # who they are to the outside issuer
    sa.Column("manages", ARRAY(Text), nullable=False, server_default=sa.text("'{}'")),  # markets, pools; empty: all
    sa.Column("created_at", Time, nullable=False, server_default=NOW),
    sa.Column("updated_at", Time, nullable=False, server_default=NOW),
    sa.CheckConstraint("email = lower(email) AND email ~ '.@.'", name="email"),
    sa.CheckConstraint(
        "CASE WHEN member_id IS NULL THEN role IN ('operator', 'manager')"
        " ELSE role IN ('partner', 'partner_admin') END",
        name="role",
    ),
    sa.CheckConstraint("units IN ('mi', 'km')", name="units"),
    sa.CheckConstraint("(quiet_from IS NULL) = (quiet_to IS NULL)", name="quiet"),
    comment="People of members, and our own where there is no member; personal data.",
)
sa.Index("ix_people_member", people.c.member_id)

clients = sa.Table(
    "clients",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("name", Text, nullable=False),
    sa.Column("member_id", Int, sa.ForeignKey("members.id", ondelete="CASCADE")),  # NULL: of the whole network
    sa.Column("secret_hash", BYTEA),  # SHA-256; NULL: an app in people's hands, which can keep no secret
    sa.Column("scopes", ARRAY(Text), nullable=False),
    sa.Column("active", Bool, nullable=False, server_default="true"),
    sa.Column("token_version", Int, nullable=False, server_default="1"),
    sa.Column("created_at", Time, nullable=False, server_default=NOW),
    sa.CheckConstraint("length(secret_hash) = 32", name="secret"),
    comment="OAuth clients: programs with a secret of their own, or apps of people without one.",
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("name", Text, nullable=False),
    sa.Column("member_id", Int, sa.ForeignKey("members.id", ondelete="CASCADE")),  # NULL: of the whole network
    sa.Column("secret_hash", BYTEA, nullable=False),  # SHA-256: 256 random bits need no slow hash
    sa.Column("scopes", ARRAY(Text), nullable=False),
    sa.Column("created_at", Time, nullable=False, server_default=NOW),
    sa.Column("expires_at", Time),
    sa.Column("last_used_at", Time),  # to the minute
    sa.Column("revoked_at", Time),
    sa.CheckConstraint("length(secret_hash) = 32", name="secret"),
    comment="Keys of programs; the secret itself is shown once and not kept.",
)
sa.Index("ix_api_keys_owner", api_keys.c.member_id, api_keys.c.name)

refresh_tokens = sa.Table(
    "refresh_tokens",
    metadata,
    sa.Column("hash", BYTEA, primary_key=True),
    sa.Column("family", Uuid, nullable=False),  # all that came of one login
    sa.Column("person_id", Uuid, sa.ForeignKey("people.id", ondelete="CASCADE"), nullable=False),
    sa.Column("client_id", Text, sa.ForeignKey("clients.id", ondelete="CASCADE"), nullable=False),
    sa.Column("scopes", ARRAY(Text), nullable=False),
    sa.Column("issued_at", Time, nullable=False, server_default=NOW),
    sa.Column("expires_at", Time, nullable=False),
    sa.Column("used_at", Time),
    sa.Column("revoked_at", Time),
    comment="Each is used once; a second use ends its family, as one of the two was stolen.",
)
sa.Index("ix_refresh_tokens_family", refresh_tokens.c.family)
sa.Index("ix_refresh_tokens_person", refresh_tokens.c.person_id)
sa.Index("ix_refresh_tokens_expires", refresh_tokens.c.expires_at)

login_codes = sa.Table(
    "login_codes",
    metadata,
    sa.Column("id", Uuid, primary_key=True),
    sa.Column("person_id", Uuid, sa.ForeignKey("people.id", ondelete="CASCADE"), nullable=False),
    sa.Column("code_hash", BYTEA, nullable=False),  # keyed: eight digits would be guessed from a plain hash
    sa.Column("link_hash", BYTEA, nullable=False, unique=True),
    sa.Column("tries", Small, nullable=False, server_default="0"),
    sa.Column("made_at", Time, nullable=False, server_default=NOW),
    sa.Column("expires_at", Time, nullable=False),
    sa.Column("used_at", Time),
    comment="Logins under way: a code to type or a link to follow, whichever is used first.",
)
sa.Index("ix_login_codes_person", login_codes.c.person_id, login_codes.c.made_at)

device_codes = sa.Table(
    "device_codes",
    metadata,
    sa.Column("hash", BYTEA, primary_key=True),
    sa.Column("user_code", Text, nullable=False, unique=True),
    sa.Column("client_id", Text, sa.ForeignKey("clients.id", ondelete="CASCADE"), nullable=False),
    sa.Column("scopes", ARRAY(Text), nullable=False),
    sa.Column("state", Text, nullable=False, server_default="pending"),
    sa.Column("person_id", Uuid, sa.ForeignKey("people.id", ondelete="CASCADE")),  # who let it in
    sa.Column("made_at", Time, nullable=False, server_default=NOW),
    sa.Column("expires_at", Time, nullable=False),
    sa.Column("polled_at", Time),
    sa.Column("interval_s", Small, nullable=False, server_default="5"),
    sa.CheckConstraint("state IN ('pending', 'approved', 'denied', 'used')", name="state"),
    comment="Logins of devices without a keyboard, by RFC 8628.",
)
sa.Index("ix_device_codes_expires", device_codes.c.expires_at)

signing_keys = sa.Table(
    "signing_keys",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("algorithm", Text, nullable=False),
    sa.Column("sealed", BYTEA, nullable=False),
    sa.Column("public", JSONB, nullable=False),  # as JSON Web Key
    sa.Column("signs_from", Time, nullable=False),  # published before: verifiers must have read it by then
    sa.Column("ends_at", Time),  # no token signed with it is alive any more
    comment="What access tokens are signed with; private halves are sealed under FAIRTURN_SECRET.",
)
