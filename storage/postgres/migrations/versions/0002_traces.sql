-- How far the timeline has been shown to others, such as a collector of traces.
CREATE TABLE shown (
    to_whom TEXT NOT NULL,
    timeline_id BIGINT NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_shown PRIMARY KEY (to_whom)
);

COMMENT ON TABLE shown IS 'How far the timeline has been shown to others, such as a collector of traces.';
