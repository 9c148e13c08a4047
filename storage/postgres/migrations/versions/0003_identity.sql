-- Who may come in: people, their apps, keys and tokens. Secrets are kept as hashes, or sealed where they are needed.

CREATE TABLE people (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    member_id integer,
    role text NOT NULL,
    name text NOT NULL,
    email text NOT NULL,
    phone text NOT NULL DEFAULT '',
    language text NOT NULL DEFAULT 'en',
    units text NOT NULL DEFAULT 'mi',
    time_zone text NOT NULL DEFAULT '',
    quiet_from time,
    quiet_to time,
    active boolean NOT NULL DEFAULT true,
    token_version integer NOT NULL DEFAULT 1,
    outside_subject text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT pk_people PRIMARY KEY (id),
    CONSTRAINT fk_people_member_id FOREIGN KEY (member_id) REFERENCES members (id) ON DELETE CASCADE,
    CONSTRAINT uq_people_email UNIQUE (email),
    CONSTRAINT uq_people_outside_subject UNIQUE (outside_subject),
    CONSTRAINT ck_people_email CHECK (email = lower(email) AND email ~ '.@.'),
    CONSTRAINT ck_people_role CHECK (
        CASE WHEN member_id IS NULL THEN role IN ('operator', 'manager') ELSE role IN ('partner', 'partner_admin') END
    ),
    CONSTRAINT ck_people_units CHECK (units IN ('mi', 'km')),
    CONSTRAINT ck_people_quiet CHECK ((quiet_from IS NULL) = (quiet_to IS NULL))
);
COMMENT ON TABLE people IS 'People of members, and our own where there is no member; personal data.';
CREATE INDEX ix_people_member ON people (member_id);

CREATE TABLE clients (
    id text NOT NULL,
    name text NOT NULL,
    member_id integer,
    secret_hash bytea,
    scopes text[] NOT NULL,
    active boolean NOT NULL DEFAULT true,
    token_version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT pk_clients PRIMARY KEY (id),
    CONSTRAINT fk_clients_member_id FOREIGN KEY (member_id) REFERENCES members (id) ON DELETE CASCADE,
    CONSTRAINT ck_clients_secret CHECK (length(secret_hash) = 32)
);
COMMENT ON TABLE clients IS 'OAuth clients: programs with a secret of their own, or apps of people without one.';
INSERT INTO clients (id, name, scopes)
VALUES (
    'fairturn-app',
    'Fairturn',
    '{offers:read,offers:answer,me:read,me:write,team:manage,hooks:manage,events:read,operate,manage}'
);

CREATE TABLE api_keys (
    id text NOT NULL,
    name text NOT NULL,
    member_id integer,
    secret_hash bytea NOT NULL,
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    CONSTRAINT pk_api_keys PRIMARY KEY (id),
    CONSTRAINT fk_api_keys_member_id FOREIGN KEY (member_id) REFERENCES members (id) ON DELETE CASCADE,
    CONSTRAINT ck_api_keys_secret CHECK (length(secret_hash) = 32)
);
COMMENT ON TABLE api_keys IS 'Keys of programs; the secret itself is shown once and not kept.';
CREATE INDEX ix_api_keys_owner ON api_keys (member_id, name);

CREATE TABLE refresh_tokens (
    hash bytea NOT NULL,
    family uuid NOT NULL,
    person_id uuid NOT NULL,
    client_id text NOT NULL,
    scopes text[] NOT NULL,
    issued_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    revoked_at timestamptz,
    CONSTRAINT pk_refresh_tokens PRIMARY KEY (hash),
    CONSTRAINT fk_refresh_tokens_person_id FOREIGN KEY (person_id) REFERENCES people (id) ON DELETE CASCADE,
    CONSTRAINT fk_refresh_tokens_client_id FOREIGN KEY (client_id) REFERENCES clients (id) ON DELETE CASCADE
);
COMMENT ON TABLE refresh_tokens IS 'Each is used once; a second use ends its family, as one of the two was stolen.';
CREATE INDEX ix_refresh_tokens_family ON refresh_tokens (family);
CREATE INDEX ix_refresh_tokens_person ON refresh_tokens (person_id);
CREATE INDEX ix_refresh_tokens_expires ON refresh_tokens (expires_at);

CREATE TABLE login_codes (
    id uuid NOT NULL,
    person_id uuid NOT NULL,
    code_hash bytea NOT NULL,
    link_hash bytea NOT NULL,
    tries smallint NOT NULL DEFAULT 0,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    CONSTRAINT pk_login_codes PRIMARY KEY (id),
    CONSTRAINT uq_login_codes_link_hash UNIQUE (link_hash),
    CONSTRAINT fk_login_codes_person_id FOREIGN KEY (person_id) REFERENCES people (id) ON DELETE CASCADE
);
COMMENT ON TABLE login_codes IS 'Logins under way: a code to type or a link to follow, whichever is used first.';
CREATE INDEX ix_login_codes_person ON login_codes (person_id, made_at);

CREATE TABLE device_codes (
    hash bytea NOT NULL,
    user_code text NOT NULL,
    client_id text NOT NULL,
    scopes text[] NOT NULL,
    state text NOT NULL DEFAULT 'pending',
    person_id uuid,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    polled_at timestamptz,
    interval_s smallint NOT NULL DEFAULT 5,
    CONSTRAINT pk_device_codes PRIMARY KEY (hash),
    CONSTRAINT uq_device_codes_user_code UNIQUE (user_code),
    CONSTRAINT fk_device_codes_client_id FOREIGN KEY (client_id) REFERENCES clients (id) ON DELETE CASCADE,
    CONSTRAINT fk_device_codes_person_id FOREIGN KEY (person_id) REFERENCES people (id) ON DELETE CASCADE,
    CONSTRAINT ck_device_codes_state CHECK (state IN ('pending', 'approved', 'denied', 'used'))
);
COMMENT ON TABLE device_codes IS 'Logins of devices without a keyboard, by RFC 8628.';
CREATE INDEX ix_device_codes_expires ON device_codes (expires_at);

CREATE TABLE signing_keys (
    id text NOT NULL,
    algorithm text NOT NULL,
    sealed bytea NOT NULL,
    public jsonb NOT NULL,
    signs_from timestamptz NOT NULL,
    ends_at timestamptz,
    CONSTRAINT pk_signing_keys PRIMARY KEY (id)
);
COMMENT ON TABLE signing_keys IS 'What access tokens are signed with; private halves are sealed under FAIRTURN_SECRET.';
