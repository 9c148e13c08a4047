-- A draft that runs beside live: what it has come to, and where the two went apart. Nothing else of the house is touched.

CREATE TABLE shadow_runs (
    id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_shadow_runs PRIMARY KEY,
    name text NOT NULL,
    document jsonb NOT NULL,
    begun_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    stopped_at timestamptz,
    upto timestamptz NOT NULL,
    state jsonb,
    decided bigint NOT NULL DEFAULT 0,
    same bigint NOT NULL DEFAULT 0,
    error text
);
COMMENT ON TABLE shadow_runs IS 'Drafts that run beside live, with their own turns and places; one at a time.';
CREATE UNIQUE INDEX uq_shadow_runs_one ON shadow_runs (stopped_at) NULLS NOT DISTINCT WHERE stopped_at IS NULL;

CREATE TABLE shadow_divergences (
    run_id bigint NOT NULL
        CONSTRAINT fk_shadow_divergences_run_id_shadow_runs REFERENCES shadow_runs (id) ON DELETE CASCADE,
    lead_id bigint NOT NULL,
    attempt integer NOT NULL,
    at timestamptz NOT NULL,
    live_member integer,
    shadow_member integer,
    cause text NOT NULL,
    live jsonb,
    shadow jsonb,
    CONSTRAINT pk_shadow_divergences PRIMARY KEY (run_id, lead_id, attempt)
);
COMMENT ON TABLE shadow_divergences IS 'Where a draft beside live chose otherwise, with both explanations; members by id.';
