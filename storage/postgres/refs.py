"""A lead by any id that somebody may have of it, by indexes alone: ours, Salesforce's (long or short), the source's."""

#: Of a query over leads with the parameter `ref`. Salesforce's short ids are the beginnings of the long ones: between
#: the id and all that may follow it, in the order of any collation.
IS_REF = """(
    id = CASE WHEN CAST(:ref AS text) ~ '^[0-9]{1,18}$' THEN CAST(:ref AS bigint) END
    OR salesforce_id = :ref OR source_id = :ref
    OR (length(:ref) = 15 AND salesforce_id LIKE '00_%' AND left(salesforce_id, 15) = :ref
        AND salesforce_id > :ref AND salesforce_id < :ref || 'zzzz')
)"""
#: Where several are meant: ours before Salesforce's before the source's.
BEST_FIRST = "id\\:\\:text = :ref DESC, left(salesforce_id, 15) = left(:ref, 15) DESC, id"
