-- The second wall between members: what a partner reads is read as a role that sees its own rows only.
-- Whoever migrates needs CREATEROLE, or an administrator makes the role before and grants it:
--   CREATE ROLE fairturn_partner NOLOGIN; GRANT fairturn_partner TO <the user of DATABASE_URL>;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'fairturn_partner') THEN
        CREATE ROLE fairturn_partner NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL; -- another database of this server was migrated at the same moment
END $$;

DO $$
BEGIN
    IF NOT pg_has_role(current_user, 'fairturn_partner', 'MEMBER') THEN
        EXECUTE 'GRANT fairturn_partner TO ' || quote_ident(current_user);
    END IF;
EXCEPTION WHEN unique_violation THEN
    NULL;
END $$;

CREATE FUNCTION fairturn_member() RETURNS integer LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('app.member', true), '')::integer;
COMMENT ON FUNCTION fairturn_member() IS 'The member this transaction reads for; null where none was named: it sees nothing.';

-- Of a table with a column member_id, the partner's role sees the rows of its member.
CREATE PROCEDURE fairturn_wall(walled regclass, rule text DEFAULT 'member_id = fairturn_member()') LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'ALTER TABLE ' || walled || ' ENABLE ROW LEVEL SECURITY';
    EXECUTE 'DROP POLICY IF EXISTS of_its_member ON ' || walled;
    EXECUTE 'CREATE POLICY of_its_member ON ' || walled || ' FOR SELECT TO fairturn_partner USING (' || rule || ')';
END $$;

CALL fairturn_wall('offers', 'member_id = fairturn_member() AND state <> ''void''');
CALL fairturn_wall('notices');
CALL fairturn_wall('people');
CALL fairturn_wall('members', 'id = fairturn_member()');
CALL fairturn_wall('leads', 'EXISTS (SELECT FROM offers o WHERE o.lead_id = leads.id)');
CALL fairturn_wall(
    'lead_contacts',
    'EXISTS (SELECT FROM offers o WHERE o.lead_id = lead_contacts.lead_id AND o.state IN (''accepted'', ''completed''))'
);

GRANT USAGE ON SCHEMA public TO fairturn_partner;
GRANT SELECT ON offers, notices, people, members, lead_contacts TO fairturn_partner;
-- Not where exactly a lead is, which its acceptor reads in accepted_places; no column that nobody thought of.
DO $$
BEGIN
    EXECUTE 'GRANT SELECT (' || (
        SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute
        WHERE attrelid = 'leads'::regclass AND attname = ANY(ARRAY[
            'id', 'source', 'state', 'reason', 'version', 'attempt', 'moves', 'priority', 'lane', 'pool', 'country',
            'postal_code', 'city', 'region', 'attributes', 'received_at', 'next_try_at', 'open_until', 'created_at',
            'updated_at'
        ])
    ) || ') ON leads TO fairturn_partner';
END $$;

-- A view reads with its owner's rights: it names the member itself.
CREATE VIEW accepted_places WITH (security_barrier) AS
SELECT l.id AS lead_id, l.lat, l.lon, l.geo_precision
FROM leads l
WHERE EXISTS (
    SELECT FROM offers o
    WHERE o.lead_id = l.id AND o.member_id = fairturn_member() AND o.state IN ('accepted', 'completed')
);
COMMENT ON VIEW accepted_places IS 'Where the leads are that the member of this transaction has accepted.';
GRANT SELECT ON accepted_places TO fairturn_partner;

-- Tables that other parts of this revision made; each has the column member_id.
DO $$
DECLARE
    made regclass;
BEGIN
    FOREACH made IN ARRAY array_remove(ARRAY[
        to_regclass('endpoints'), to_regclass('devices'), to_regclass('deliveries')
    ], NULL) LOOP
        CALL fairturn_wall(made);
        EXECUTE 'GRANT SELECT ON ' || made || ' TO fairturn_partner';
    END LOOP;
END $$;
