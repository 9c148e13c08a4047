-- Versions of the policy: written as drafts, approved, scheduled, published, retired; who did what stays with each.
ALTER TABLE policies
    DROP CONSTRAINT ck_policies_state,
    ADD COLUMN edition integer NOT NULL DEFAULT 1,
    ADD COLUMN source text,
    ADD COLUMN digest text NOT NULL DEFAULT '',
    ADD COLUMN author text NOT NULL DEFAULT '',
    ADD COLUMN author_id uuid,
    ADD COLUMN base integer,
    ADD COLUMN replaced integer,
    ADD COLUMN restores integer,
    ADD COLUMN publish_at timestamptz,
    ADD COLUMN published_by text NOT NULL DEFAULT '',
    ADD COLUMN retired_at timestamptz,
    ADD COLUMN problem text NOT NULL DEFAULT '',
    ADD COLUMN findings jsonb NOT NULL DEFAULT '[]',
    ADD CONSTRAINT ck_policies_state CHECK (state IN ('draft', 'scheduled', 'published', 'retired')),
    ADD CONSTRAINT ck_policies_scheduled CHECK ((state = 'scheduled') = (publish_at IS NOT NULL));
CREATE INDEX ix_policies_due ON policies (publish_at) WHERE state = 'scheduled';
COMMENT ON TABLE policies IS 'Every version of the policy; one is in force. What was published is never changed.';

CREATE TABLE policy_approvals (
    version integer NOT NULL,
    person_id uuid NOT NULL,
    name text NOT NULL,
    wrote boolean NOT NULL DEFAULT false,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT pk_policy_approvals PRIMARY KEY (version, person_id),
    CONSTRAINT fk_policy_approvals_version FOREIGN KEY (version) REFERENCES policies (version) ON DELETE CASCADE
);
COMMENT ON TABLE policy_approvals IS 'Who stands for a version: who wrote it, and who has read and approved it.';

-- How many decisions used a version: versions follow one another, so a few pages hold each.
CREATE INDEX ix_decisions_policy_version ON decisions USING brin (policy_version) WITH (autosummarize = on);

-- What a manager is limited to (row M12): markets and pools by name; none: everything.
ALTER TABLE people ADD COLUMN manages text[] NOT NULL DEFAULT '{}';
