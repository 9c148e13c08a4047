-- How members are told: their webhooks and devices, and one row for each thing to deliver to one of them.

CREATE TABLE endpoints (
    id uuid NOT NULL,
    member_id integer NOT NULL,
    url text NOT NULL,
    state text NOT NULL DEFAULT 'active',
    why text,
    sealed bytea NOT NULL,
    old_sealed bytea,
    old_until timestamptz,
    failures integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    rests_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT pk_endpoints PRIMARY KEY (id),
    CONSTRAINT fk_endpoints_member_id FOREIGN KEY (member_id) REFERENCES members (id) ON DELETE CASCADE,
    CONSTRAINT uq_endpoints_member_id_url UNIQUE (member_id, url),
    CONSTRAINT ck_endpoints_state CHECK (state IN ('active', 'disabled'))
);
COMMENT ON TABLE endpoints IS 'Webhooks of members; their secrets are sealed under FAIRTURN_SECRET.';

CREATE TABLE devices (
    id uuid NOT NULL,
    member_id integer NOT NULL,
    person_id uuid NOT NULL,
    mark bytea NOT NULL,
    sealed bytea NOT NULL,
    label text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT pk_devices PRIMARY KEY (id),
    CONSTRAINT fk_devices_member_id FOREIGN KEY (member_id) REFERENCES members (id) ON DELETE CASCADE,
    CONSTRAINT fk_devices_person_id FOREIGN KEY (person_id) REFERENCES people (id) ON DELETE CASCADE,
    CONSTRAINT uq_devices_mark UNIQUE (mark)
);
COMMENT ON TABLE devices IS 'Browsers of people that take web push; where they are reached is sealed under FAIRTURN_SECRET.';
CREATE INDEX ix_devices_person_id ON devices (person_id);

CREATE TABLE contact_wishes (
    person_id uuid NOT NULL,
    channels text[] NOT NULL,
    CONSTRAINT pk_contact_wishes PRIMARY KEY (person_id),
    CONSTRAINT fk_contact_wishes_person_id FOREIGN KEY (person_id) REFERENCES people (id) ON DELETE CASCADE
);
COMMENT ON TABLE contact_wishes IS 'In which order a person wants to be told: push, sms, email; who is not in it follows the default.';

CREATE TABLE push_keys (
    id integer NOT NULL DEFAULT 1,
    sealed bytea NOT NULL,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT pk_push_keys PRIMARY KEY (id),
    CONSTRAINT ck_push_keys_one CHECK (id = 1)
);
COMMENT ON TABLE push_keys IS 'By what push services know us (VAPID), sealed under FAIRTURN_SECRET; made once, devices are bound to it.';

CREATE TABLE deliveries (
    id bigint GENERATED ALWAYS AS IDENTITY,
    member_id integer,
    number bigint,
    what text NOT NULL,
    offer_id uuid,
    lead_id bigint,
    channel text NOT NULL,
    target uuid NOT NULL,
    person_id uuid,
    step smallint NOT NULL DEFAULT 0,
    sealed bytea,
    state text NOT NULL DEFAULT 'pending',
    why text,
    attempts integer NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    until timestamptz NOT NULL,
    lease_until timestamptz,
    token uuid,
    opened_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    done_at timestamptz,
    CONSTRAINT pk_deliveries PRIMARY KEY (id),
    CONSTRAINT fk_deliveries_member_id FOREIGN KEY (member_id) REFERENCES members (id) ON DELETE CASCADE,
    CONSTRAINT fk_deliveries_person_id FOREIGN KEY (person_id) REFERENCES people (id) ON DELETE CASCADE,
    CONSTRAINT uq_deliveries_member_id_number_channel_target UNIQUE (member_id, number, channel, target),
    CONSTRAINT ck_deliveries_channel CHECK (channel IN ('webhook', 'push', 'sms', 'email')),
    CONSTRAINT ck_deliveries_state CHECK (state IN ('pending', 'sent', 'failed', 'expired', 'skipped'))
);
COMMENT ON TABLE deliveries IS 'One notice to one endpoint, device or person, or one letter of the house to a person; ids only.';
CREATE INDEX ix_deliveries_due ON deliveries (due_at) WHERE state = 'pending';
CREATE INDEX ix_deliveries_flying ON deliveries (lease_until) WHERE state = 'pending' AND lease_until IS NOT NULL;
CREATE INDEX ix_deliveries_offer ON deliveries (offer_id, person_id);

CREATE TABLE links_used (
    mark bytea NOT NULL,
    offer_id uuid NOT NULL,
    used_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT pk_links_used PRIMARY KEY (mark)
);
COMMENT ON TABLE links_used IS 'One-tap links that did their work, by the hash of their token: none works twice.';
