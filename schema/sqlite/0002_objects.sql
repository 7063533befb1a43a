-- Operations about objects: uploads before a create, removals after a job has gone.

DROP VIEW jobs;
DROP INDEX objects_owed;

ALTER TABLE operations ADD COLUMN object_id INTEGER REFERENCES objects (id);
CREATE INDEX operations_object ON operations (object_id) WHERE object_id IS NOT NULL;

ALTER TABLE budgets ADD COLUMN fault TEXT;

-- What was owed by its state alone is owed as an operation from now on.
INSERT INTO operations (
    local_id, kind, service, priority, next_attempt_at, created_at, object_id
)
SELECT '', 'remove_object', 'storage:files', 3, updated_at, updated_at, id
FROM objects WHERE state = 'removal_requested';

-- What a job still owes its service decides its sync status (J3): nobody writes it.
CREATE VIEW jobs AS
SELECT
    j.*,
    coalesce(
        (
            SELECT CASE
                WHEN count(*) = 0 THEN NULL
                WHEN sum(o.state <> 'pending') > 0 THEN 'failed'
                WHEN sum(o.kind = 'delete') > 0 THEN 'pending_deletion'
                WHEN max(o.attempts) > 0 THEN 'error'
                ELSE 'pending'
            END
            FROM operations AS o
            WHERE o.local_id = j.local_id
                AND o.kind IN ('upload_input', 'create', 'update', 'cancel', 'delete')
        ),
        CASE WHEN j.server_id IS NULL THEN 'pending' ELSE 'synced' END
    ) AS sync_status,
    coalesce(
        (
            SELECT max(o.attempts) FROM operations AS o
            WHERE o.local_id = j.local_id
                AND o.kind IN ('upload_input', 'create', 'update', 'cancel', 'delete')
        ),
        0
    ) AS sync_retry_count,
    (
        SELECT max(o.last_attempt_at) FROM operations AS o
        WHERE o.local_id = j.local_id
            AND o.kind IN ('upload_input', 'create', 'update', 'cancel', 'delete')
    ) AS sync_last_attempt_at
FROM processing_jobs AS j;
