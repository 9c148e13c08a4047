-- Who decides, and what the continuous check of the invariants found last.

-- Set while the turnstile is away: the ledger decides alone, under a generation of its own.
ALTER TABLE markets ADD COLUMN alone_since timestamptz;

CREATE TABLE invariants (
    name text PRIMARY KEY,
    violations bigint NOT NULL,
    examples jsonb NOT NULL DEFAULT '[]',
    checked_at timestamptz NOT NULL,
    whole_at timestamptz NOT NULL,
    took_ms real NOT NULL
);
COMMENT ON TABLE invariants IS 'What must never be, and how often it was seen when last looked at; ids only.';
