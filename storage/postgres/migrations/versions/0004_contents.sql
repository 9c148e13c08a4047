-- Tables and areas of the policy that are too large to stand in its document: kept once, by what is in them.
CREATE TABLE contents (
    digest text NOT NULL,
    body bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT pk_contents PRIMARY KEY (digest),
    CONSTRAINT ck_contents_digest CHECK (digest = 'sha256:' || encode(sha256(body), 'hex'))
);
COMMENT ON TABLE contents IS 'Files of the policy''s tables and areas by their SHA-256; never changed.';
