-- What is used of limits is recounted from its last look on: all of a window only once an hour.
CREATE TABLE quota_recounts (
    market text NOT NULL,
    counter text NOT NULL,
    bucket integer NOT NULL,
    units bigint NOT NULL,
    until timestamptz NOT NULL,
    CONSTRAINT pk_quota_recounts PRIMARY KEY (market, counter, bucket)
);
COMMENT ON TABLE quota_recounts IS 'What the offers up to `quota_recounted.upto` add up to, apart from what counts them.';

CREATE TABLE quota_recounted (
    single boolean NOT NULL DEFAULT true CONSTRAINT ck_quota_recounted_single CHECK (single),
    upto timestamptz NOT NULL,
    whole_at timestamptz NOT NULL,
    CONSTRAINT pk_quota_recounted PRIMARY KEY (single)
);
COMMENT ON TABLE quota_recounted IS 'How far limits are recounted, and when that was last done from the beginning.';

CREATE INDEX ix_offers_given_back ON offers (ended_at)
    WHERE counts_kept AND state IN ('rejected', 'expired', 'withdrawn');
