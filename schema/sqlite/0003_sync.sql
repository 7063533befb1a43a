-- Changes and deletions on their way to a service, and how sure it is that nothing has left.

DROP VIEW jobs;

ALTER TABLE operations ADD COLUMN unaccounted INTEGER NOT NULL DEFAULT 0;

-- Whatever was claimed before this was counted may have left.
UPDATE operations SET unaccounted = 1 WHERE lease > 0;

CREATE INDEX operations_dead ON operations (id) WHERE state <> 'pending';

-- A job that is stuck is told of once.
ALTER TABLE processing_jobs ADD COLUMN alerted_at TEXT;

-- When the service was last told of a change, and when a listing brought the job here.
ALTER TABLE processing_jobs ADD COLUMN synced_at TEXT;
ALTER TABLE processing_jobs ADD COLUMN found_at TEXT;

CREATE INDEX processing_jobs_stuck ON processing_jobs (alerted_at, accepted_at)
    WHERE status = 'processing';

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
        CASE
            WHEN j.server_id IS NULL AND j.status IN ('pending', 'processing', 'retrieving')
                THEN 'pending'
            ELSE 'synced'
        END
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

-- A listing on its way: its pages are kept until it is complete.
CREATE TABLE listed (
    operation_id INTEGER NOT NULL,
    server_key TEXT NOT NULL,
    server_id TEXT NOT NULL,
    state TEXT,
    word TEXT,
    version TEXT,
    updated_at TEXT,
    fields TEXT NOT NULL DEFAULT '{}',
    vars TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (operation_id, server_key)
) WITHOUT ROWID;

-- Jobs that only a listing knows, seen while a create was on its way that may have made them.
CREATE TABLE strangers (
    server_key TEXT PRIMARY KEY,
    seen_at TEXT NOT NULL
) WITHOUT ROWID;

CREATE INDEX strangers_age ON strangers (seen_at);

-- What was deleted here on purpose does not come back by a listing.
CREATE TABLE tombstones (
    server_key TEXT PRIMARY KEY,
    deleted_at TEXT NOT NULL
) WITHOUT ROWID;

CREATE INDEX tombstones_age ON tombstones (deleted_at);
