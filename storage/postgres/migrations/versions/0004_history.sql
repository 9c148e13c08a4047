-- Who was on the roster under which version, and since when. Written by triggers: nobody can change a member and forget.

CREATE TABLE roster_versions (
    market text NOT NULL,
    version bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT pk_roster_versions PRIMARY KEY (market, version)
);
COMMENT ON TABLE roster_versions IS 'Since when each version of a market''s roster counts.';

CREATE TABLE member_history (
    market text NOT NULL,
    member_id integer NOT NULL,
    version bigint NOT NULL,
    member jsonb,
    lats double precision[] NOT NULL DEFAULT '{}',
    lons double precision[] NOT NULL DEFAULT '{}',
    CONSTRAINT pk_member_history PRIMARY KEY (market, member_id, version)
);
COMMENT ON TABLE member_history IS 'Each member as it was from a version of the roster on; no member: it left the market.';

CREATE FUNCTION note_roster_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO roster_versions (market, version) VALUES (NEW.name, NEW.roster_version) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER noted AFTER INSERT OR UPDATE OF roster_version ON markets
    FOR EACH ROW EXECUTE FUNCTION note_roster_version();

-- Whoever changes members raises the version once, in the same transaction, mostly afterwards: until then the row of the
-- market is of an earlier transaction, and what is written counts from the next version on.
CREATE FUNCTION remember_members(ids integer[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO member_history (market, member_id, version, member, lats, lons)
    SELECT m.market, m.id,
           CASE WHEN k.xmin = pg_current_xact_id()::xid THEN k.roster_version ELSE k.roster_version + 1 END,
           to_jsonb(m) - ARRAY['open', 'notices', 'updated_at'], coalesce(p.lats, '{}'), coalesce(p.lons, '{}')
    FROM members m
    JOIN markets k ON k.name = m.market
    LEFT JOIN LATERAL (
        SELECT array_agg(lat ORDER BY id) AS lats, array_agg(lon ORDER BY id) AS lons
        FROM places WHERE member_id = m.id
    ) p ON true
    WHERE m.id = ANY(ids)
    ON CONFLICT (market, member_id, version) DO UPDATE
    SET member = excluded.member, lats = excluded.lats, lons = excluded.lons
$$;

CREATE FUNCTION remember_who_left(gone integer, left_market text) RETURNS void LANGUAGE sql AS $$
    INSERT INTO member_history (market, member_id, version)
    SELECT k.name, gone,
           CASE WHEN k.xmin = pg_current_xact_id()::xid THEN k.roster_version ELSE k.roster_version + 1 END
    FROM markets k WHERE k.name = left_market
    ON CONFLICT (market, member_id, version) DO UPDATE SET member = NULL, lats = '{}', lons = '{}'
$$;

CREATE FUNCTION remember_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM remember_members((SELECT array_agg(id) FROM made));
    RETURN NULL;
END $$;
CREATE TRIGGER remembered_added AFTER INSERT ON members REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION remember_added();

CREATE FUNCTION remember_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM remember_who_left(OLD.id, OLD.market);
        RETURN NULL;
    END IF;
    IF OLD.market <> NEW.market THEN
        PERFORM remember_who_left(OLD.id, OLD.market);
    END IF;
    PERFORM remember_members(ARRAY[NEW.id]);
    RETURN NULL;
END $$;
-- By the columns named, so that counting a member's offers, which happens all the time, costs nothing here.
CREATE TRIGGER remembered_changed
    AFTER UPDATE OF key, name, market, country, tier, capacity, weight, active, attributes, present, left_at ON members
    FOR EACH ROW WHEN (
        (OLD.key, OLD.name, OLD.market, OLD.country, OLD.tier, OLD.capacity, OLD.weight, OLD.active, OLD.attributes,
         OLD.present, OLD.left_at)
        IS DISTINCT FROM
        (NEW.key, NEW.name, NEW.market, NEW.country, NEW.tier, NEW.capacity, NEW.weight, NEW.active, NEW.attributes,
         NEW.present, NEW.left_at))
    EXECUTE FUNCTION remember_changed();
CREATE TRIGGER remembered_gone AFTER DELETE ON members FOR EACH ROW EXECUTE FUNCTION remember_changed();

CREATE FUNCTION remember_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM remember_members((SELECT array_agg(DISTINCT member_id) FROM moved));
    RETURN NULL;
END $$;
CREATE TRIGGER remembered_added AFTER INSERT ON places REFERENCING NEW TABLE AS moved
    FOR EACH STATEMENT EXECUTE FUNCTION remember_moved();
CREATE TRIGGER remembered_changed AFTER UPDATE ON places REFERENCING NEW TABLE AS moved
    FOR EACH STATEMENT EXECUTE FUNCTION remember_moved();
CREATE TRIGGER remembered_gone AFTER DELETE ON places REFERENCING OLD TABLE AS moved
    FOR EACH STATEMENT EXECUTE FUNCTION remember_moved();

-- What is known at this moment.
INSERT INTO roster_versions (market, version) SELECT name, roster_version FROM markets;
INSERT INTO member_history (market, member_id, version, member, lats, lons)
SELECT m.market, m.id, k.roster_version, to_jsonb(m) - ARRAY['open', 'notices', 'updated_at'],
       coalesce(p.lats, '{}'), coalesce(p.lons, '{}')
FROM members m
JOIN markets k ON k.name = m.market
LEFT JOIN LATERAL (
    SELECT array_agg(lat ORDER BY id) AS lats, array_agg(lon ORDER BY id) AS lons FROM places WHERE member_id = m.id
) p ON true;
