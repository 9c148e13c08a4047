-- What happened stays: these rows are written once, never changed, and written a lot.

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING
        MESSAGE = 'rows of ' || TG_TABLE_NAME || ' are never changed',
        ERRCODE = 'restrict_violation',
        CONSTRAINT = TG_TABLE_NAME || '_never_change';
END $$;

CREATE TRIGGER never_change BEFORE UPDATE OR DELETE OR TRUNCATE ON decisions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_change BEFORE UPDATE OR DELETE OR TRUNCATE ON timeline
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- An offer's life goes one way (routing.offer): what ended stays ended.
CREATE FUNCTION refuse_illegal_life() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT (OLD.state = 'offered' AND NEW.state IN ('accepted', 'rejected', 'expired', 'withdrawn')
            OR OLD.state = 'accepted' AND NEW.state IN ('completed', 'lost', 'returned', 'withdrawn')) THEN
        RAISE EXCEPTION USING
            MESSAGE = 'an offer that is ' || OLD.state || ' cannot become ' || NEW.state,
            ERRCODE = 'restrict_violation',
            CONSTRAINT = 'offers_legal_life';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER legal_life BEFORE UPDATE OF state ON offers
    FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION refuse_illegal_life();

-- A decision of some fifty candidates takes 4 kB: kept in the row, uncompressed, it is written in half the time.
ALTER TABLE decisions SET (toast_tuple_target = 8160);
