-- The tables as of this revision; storage/postgres/tables.py says what the columns mean.

CREATE TABLE audit (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    detail JSONB DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT pk_audit PRIMARY KEY (id)
);

CREATE TABLE events (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    topic TEXT NOT NULL,
    event_id TEXT NOT NULL,
    record_id TEXT NOT NULL,
    replay_id BYTEA NOT NULL,
    change_type TEXT NOT NULL,
    origin TEXT DEFAULT '' NOT NULL,
    commit_user TEXT DEFAULT '' NOT NULL,
    commit_number BIGINT DEFAULT '0' NOT NULL,
    sequence_number INTEGER DEFAULT '0' NOT NULL,
    committed_at TIMESTAMP WITH TIME ZONE,
    changed TEXT[] DEFAULT '{}' NOT NULL,
    nulled TEXT[] DEFAULT '{}' NOT NULL,
    body JSONB DEFAULT '{}'::jsonb NOT NULL,
    state TEXT DEFAULT 'pending' NOT NULL,
    meaning TEXT,
    received_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    nudged_at TIMESTAMP WITH TIME ZONE,
    done_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_events PRIMARY KEY (id),
    CONSTRAINT ck_events_state CHECK (state IN ('pending', 'done', 'parked')),
    CONSTRAINT uq_events_event_id_record_id UNIQUE (event_id, record_id)
);

CREATE INDEX ix_events_pending ON events (id) WHERE state = 'pending';

CREATE TABLE geocodes (
    address_hash BYTEA NOT NULL,
    provider TEXT NOT NULL,
    lat DOUBLE PRECISION,
    lon DOUBLE PRECISION,
    precision TEXT,
    found_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_geocodes PRIMARY KEY (address_hash)
);

CREATE TABLE heartbeats (
    name TEXT NOT NULL,
    worker TEXT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_heartbeats PRIMARY KEY (name)
);

CREATE TABLE leads (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    salesforce_id TEXT NOT NULL,
    source_id TEXT,
    source TEXT DEFAULT '' NOT NULL,
    state TEXT DEFAULT 'new' NOT NULL,
    reason TEXT,
    version BIGINT DEFAULT '1' NOT NULL,
    attempt INTEGER DEFAULT '1' NOT NULL,
    priority INTEGER DEFAULT '0' NOT NULL,
    pool TEXT,
    country TEXT DEFAULT '' NOT NULL,
    postal_code TEXT DEFAULT '' NOT NULL,
    city TEXT DEFAULT '' NOT NULL,
    region TEXT DEFAULT '' NOT NULL,
    lat DOUBLE PRECISION,
    lon DOUBLE PRECISION,
    cell INTEGER,
    geo_precision TEXT,
    geo_provider TEXT,
    nearest_m REAL,
    attributes JSONB DEFAULT '{}'::jsonb NOT NULL,
    commit_number BIGINT DEFAULT '0' NOT NULL,
    sequence_number INTEGER DEFAULT '0' NOT NULL,
    dirty BOOLEAN DEFAULT 'false' NOT NULL,
    snapshot_at TIMESTAMP WITH TIME ZONE,
    owner_id TEXT,
    received_at TIMESTAMP WITH TIME ZONE NOT NULL,
    next_try_at TIMESTAMP WITH TIME ZONE,
    nudged_at TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_leads PRIMARY KEY (id),
    CONSTRAINT ck_leads_state CHECK (state IN ('new', 'waiting', 'offered', 'accepted', 'done', 'review', 'withdrawn')),
    CONSTRAINT ck_leads_one_reason CHECK ((state IN ('waiting', 'review', 'withdrawn')) = (reason IS NOT NULL)),
    CONSTRAINT ck_leads_lat CHECK (lat BETWEEN -90 AND 90),
    CONSTRAINT ck_leads_lon CHECK (lon BETWEEN -180 AND 180),
    CONSTRAINT uq_leads_salesforce_id UNIQUE (salesforce_id)
);

CREATE INDEX ix_leads_dirty ON leads (id) WHERE dirty;

CREATE INDEX ix_leads_new ON leads (id) WHERE state = 'new';

CREATE INDEX ix_leads_source ON leads (source_id);

CREATE INDEX ix_leads_waiting ON leads (cell, priority DESC, received_at, id) WHERE state = 'waiting';

CREATE INDEX ix_leads_woken ON leads (next_try_at) WHERE state = 'waiting' AND next_try_at IS NOT NULL;

CREATE TABLE markets (
    name TEXT NOT NULL,
    roster_version BIGINT DEFAULT '1' NOT NULL,
    generation BIGINT DEFAULT '0' NOT NULL,
    rebuilt_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_markets PRIMARY KEY (name)
);

CREATE TABLE parked (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    kind TEXT NOT NULL,
    ref TEXT NOT NULL,
    reason TEXT NOT NULL,
    input JSONB DEFAULT '{}'::jsonb NOT NULL,
    raw BYTEA,
    task_id TEXT,
    parked_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    resolved_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_parked PRIMARY KEY (id),
    CONSTRAINT uq_parked_kind_ref UNIQUE (kind, ref)
);

COMMENT ON TABLE parked IS 'Dead letters: inspected with `fairturn parked`, replayed with `fairturn parked replay`.';

CREATE TABLE policies (
    version SERIAL NOT NULL,
    state TEXT NOT NULL,
    document JSONB NOT NULL,
    note TEXT DEFAULT '' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    published_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_policies PRIMARY KEY (version),
    CONSTRAINT ck_policies_state CHECK (state IN ('draft', 'published', 'retired'))
);

CREATE UNIQUE INDEX uq_policies_one_published ON policies (state) WHERE state = 'published';

CREATE TABLE positions (
    topic TEXT NOT NULL,
    replay_id BYTEA,
    epoch BIGINT DEFAULT '0' NOT NULL,
    committed_at TIMESTAMP WITH TIME ZONE,
    swept_to TIMESTAMP WITH TIME ZONE,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_positions PRIMARY KEY (topic)
);

COMMENT ON TABLE positions IS 'Where each change stream has been read to.';

CREATE TABLE standing_marks (
    market TEXT NOT NULL,
    rotation TEXT NOT NULL,
    generation BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    tick BIGINT NOT NULL,
    cursor INTEGER NOT NULL,
    CONSTRAINT pk_standing_marks PRIMARY KEY (market, rotation)
);

CREATE TABLE standings (
    market TEXT NOT NULL,
    rotation TEXT NOT NULL,
    member_id INTEGER NOT NULL,
    standing BIGINT NOT NULL,
    served BIGINT NOT NULL,
    CONSTRAINT pk_standings PRIMARY KEY (market, rotation, member_id)
);

COMMENT ON TABLE standings IS 'A snapshot of fairness accounts taken at each rebuild; later decisions carry on from it.';

CREATE TABLE tiers (
    name TEXT NOT NULL,
    rank INTEGER NOT NULL,
    capacity INTEGER NOT NULL,
    weight INTEGER NOT NULL,
    CONSTRAINT pk_tiers PRIMARY KEY (name),
    CONSTRAINT ck_tiers_capacity CHECK (capacity >= 0),
    CONSTRAINT ck_tiers_weight CHECK (weight > 0)
);

COMMENT ON TABLE tiers IS 'The tiers of the published policy, for statements that need a capacity; '''' is the default tier.';

CREATE TABLE lead_contacts (
    lead_id BIGINT NOT NULL,
    name TEXT DEFAULT '' NOT NULL,
    company TEXT DEFAULT '' NOT NULL,
    email TEXT DEFAULT '' NOT NULL,
    phone TEXT DEFAULT '' NOT NULL,
    street TEXT DEFAULT '' NOT NULL,
    CONSTRAINT pk_lead_contacts PRIMARY KEY (lead_id),
    CONSTRAINT fk_lead_contacts_lead_id FOREIGN KEY(lead_id) REFERENCES leads (id) ON DELETE CASCADE
);

COMMENT ON TABLE lead_contacts IS 'Personal data of leads, apart from everything else.';

CREATE TABLE members (
    id INTEGER GENERATED ALWAYS AS IDENTITY,
    key TEXT NOT NULL,
    salesforce_id TEXT,
    name TEXT NOT NULL,
    market TEXT NOT NULL,
    country TEXT DEFAULT '' NOT NULL,
    tier TEXT DEFAULT '' NOT NULL,
    capacity INTEGER,
    weight INTEGER,
    active BOOLEAN DEFAULT 'true' NOT NULL,
    open INTEGER DEFAULT '0' NOT NULL,
    attributes JSONB DEFAULT '{}'::jsonb NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_members PRIMARY KEY (id),
    CONSTRAINT ck_members_open CHECK (open >= 0),
    CONSTRAINT ck_members_capacity CHECK (capacity >= 0),
    CONSTRAINT ck_members_weight CHECK (weight > 0),
    CONSTRAINT uq_members_key UNIQUE (key),
    CONSTRAINT uq_members_salesforce_id UNIQUE (salesforce_id),
    CONSTRAINT fk_members_market FOREIGN KEY(market) REFERENCES markets (name)
);

CREATE INDEX ix_members_market ON members (market);

CREATE TABLE outbox (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    kind TEXT NOT NULL,
    lead_id BIGINT NOT NULL,
    version BIGINT NOT NULL,
    offer_id UUID,
    state TEXT DEFAULT 'pending' NOT NULL,
    attempts INTEGER DEFAULT '0' NOT NULL,
    due_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    lease_until TIMESTAMP WITH TIME ZONE,
    token UUID,
    error TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    done_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_outbox PRIMARY KEY (id),
    CONSTRAINT ck_outbox_kind CHECK (kind IN ('salesforce', 'turnstile')),
    CONSTRAINT ck_outbox_state CHECK (state IN ('pending', 'done', 'superseded', 'parked')),
    CONSTRAINT fk_outbox_lead_id FOREIGN KEY(lead_id) REFERENCES leads (id)
);

CREATE INDEX ix_outbox_lead ON outbox (lead_id);

CREATE INDEX ix_outbox_pending ON outbox (kind, due_at) WHERE state = 'pending';

CREATE TABLE pools (
    name TEXT NOT NULL,
    market TEXT NOT NULL,
    mode TEXT NOT NULL,
    CONSTRAINT pk_pools PRIMARY KEY (name),
    CONSTRAINT fk_pools_market FOREIGN KEY(market) REFERENCES markets (name)
);

COMMENT ON TABLE pools IS 'The pools of the published policy.';

CREATE TABLE timeline (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    lead_id BIGINT NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    what TEXT NOT NULL,
    actor TEXT NOT NULL,
    task_id TEXT,
    policy_version INTEGER,
    detail JSONB DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT pk_timeline PRIMARY KEY (id),
    CONSTRAINT fk_timeline_lead_id FOREIGN KEY(lead_id) REFERENCES leads (id) ON DELETE CASCADE
);

CREATE INDEX ix_timeline_lead ON timeline (lead_id);

CREATE TABLE decisions (
    id UUID NOT NULL,
    lead_id BIGINT NOT NULL,
    attempt INTEGER NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    market TEXT NOT NULL,
    pool TEXT NOT NULL,
    rotation TEXT DEFAULT '' NOT NULL,
    mode TEXT NOT NULL,
    rings_m DOUBLE PRECISION[] NOT NULL,
    ring SMALLINT,
    policy_version INTEGER NOT NULL,
    roster_version BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    chosen INTEGER,
    reason TEXT NOT NULL,
    nearest_m REAL,
    member INTEGER[] NOT NULL,
    distance_m REAL[] NOT NULL,
    member_ring SMALLINT[] NOT NULL,
    weight INTEGER[] NOT NULL,
    capacity INTEGER[] NOT NULL,
    tier_rank SMALLINT[] NOT NULL,
    gate SMALLINT[] NOT NULL,
    open INTEGER[] NOT NULL,
    standing BIGINT[] NOT NULL,
    served BIGINT[] NOT NULL,
    CONSTRAINT pk_decisions PRIMARY KEY (id),
    CONSTRAINT uq_decisions_market_generation_seq UNIQUE (market, generation, seq),
    CONSTRAINT fk_decisions_lead_id FOREIGN KEY(lead_id) REFERENCES leads (id),
    CONSTRAINT fk_decisions_chosen FOREIGN KEY(chosen) REFERENCES members (id)
);

CREATE INDEX ix_decisions_lead ON decisions (lead_id);

CREATE INDEX ix_decisions_rotation ON decisions (market, rotation, generation, seq);

COMMENT ON TABLE decisions IS 'Every routing choice with all it saw; rows are never changed.';

CREATE TABLE offers (
    id UUID NOT NULL,
    lead_id BIGINT NOT NULL,
    member_id INTEGER NOT NULL,
    market TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    state TEXT DEFAULT 'offered' NOT NULL,
    reason TEXT,
    distance_m REAL NOT NULL,
    ring_m DOUBLE PRECISION NOT NULL,
    offered_at TIMESTAMP WITH TIME ZONE NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_offers PRIMARY KEY (id),
    CONSTRAINT ck_offers_state CHECK (state IN ('offered', 'accepted', 'rejected', 'expired', 'withdrawn', 'completed', 'lost', 'returned', 'void')),
    CONSTRAINT ck_offers_ended CHECK ((state IN ('offered', 'accepted')) = (ended_at IS NULL)),
    CONSTRAINT fk_offers_lead_id FOREIGN KEY(lead_id) REFERENCES leads (id),
    CONSTRAINT fk_offers_member_id FOREIGN KEY(member_id) REFERENCES members (id)
);

CREATE INDEX ix_offers_deadline ON offers (expires_at) WHERE state = 'offered';

CREATE INDEX ix_offers_open_of_member ON offers (member_id) WHERE state IN ('offered', 'accepted');

CREATE UNIQUE INDEX uq_offers_never_the_same_member_twice ON offers (lead_id, member_id) WHERE state <> 'void';

CREATE UNIQUE INDEX uq_offers_one_open_per_lead ON offers (lead_id) WHERE state IN ('offered', 'accepted');

CREATE TABLE places (
    id INTEGER GENERATED ALWAYS AS IDENTITY,
    member_id INTEGER NOT NULL,
    label TEXT DEFAULT '' NOT NULL,
    lat DOUBLE PRECISION NOT NULL,
    lon DOUBLE PRECISION NOT NULL,
    CONSTRAINT pk_places PRIMARY KEY (id),
    CONSTRAINT ck_places_lat CHECK (lat BETWEEN -90 AND 90),
    CONSTRAINT ck_places_lon CHECK (lon BETWEEN -180 AND 180),
    CONSTRAINT fk_places_member_id FOREIGN KEY(member_id) REFERENCES members (id) ON DELETE CASCADE
);

CREATE INDEX ix_places_member ON places (member_id);
