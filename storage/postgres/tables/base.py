"""What every table is made with."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import UUID

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

BigInt, Int, Small, Text, Float, Bool = sa.BigInteger, sa.Integer, sa.SmallInteger, sa.Text, sa.Double, sa.Boolean
Time = sa.DateTime(timezone=True)
Uuid = UUID(as_uuid=True)
NOW = sa.text("clock_timestamp()")
EMPTY = sa.text("'{}'::jsonb")
