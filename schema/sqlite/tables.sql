-- The ledger, as it is after all migrations. A test compares the two.
-- Times are UTC text of one width, 2026-01-31T08:15:00.250Z, so that text order is time order.

CREATE TABLE processing_jobs (
    -- AUTOINCREMENT: a number that came back after a cleanup would meet an old claim's fence.
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    local_id TEXT NOT NULL UNIQUE,
    server_id TEXT,
    server_key TEXT,
    service TEXT NOT NULL,
    account TEXT NOT NULL DEFAULT '',
    job_type TEXT NOT NULL DEFAULT '',
    user_id TEXT NOT NULL DEFAULT '',
    session_id TEXT,
    project TEXT,
    document_id TEXT,
    status TEXT NOT NULL CHECK (status IN
        ('pending', 'processing', 'retrieving', 'completed', 'failed', 'cancelled')),
    failure_reason TEXT,
    error_message TEXT,
    result_content_id TEXT,
    progress REAL,
    progress_event_at TEXT,
    remote_state TEXT,
    remote_version TEXT,
    last_synced TEXT,
    payload TEXT NOT NULL DEFAULT '{}',
    vars TEXT NOT NULL DEFAULT '{}',
    traceparent TEXT,
    initiated_at TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    accepted_at TEXT,
    completed_at TEXT,
    cancel_requested_at TEXT,
    deadline_at TEXT,
    unknown_since TEXT,
    estimated_completion_seconds REAL,
    next_poll_at TEXT,
    last_poll_at TEXT,
    poll_count INTEGER NOT NULL DEFAULT 0,
    retry_count INTEGER NOT NULL DEFAULT 0,
    last_http_status INTEGER,
    last_duration_seconds REAL,
    last_error TEXT,
    claimed_by TEXT,
    lease INTEGER NOT NULL DEFAULT 0,
    lease_until TEXT,
    version INTEGER NOT NULL DEFAULT 1,
    alerted_at TEXT,
    synced_at TEXT,
    found_at TEXT,
    expires_at TEXT
);

CREATE UNIQUE INDEX processing_jobs_server_key ON processing_jobs (server_key)
    WHERE server_key IS NOT NULL;
CREATE INDEX processing_jobs_due ON processing_jobs (service, next_poll_at, initiated_at)
    WHERE status = 'processing';
CREATE INDEX processing_jobs_active ON processing_jobs (id)
    WHERE status IN ('pending', 'processing', 'retrieving');
CREATE INDEX processing_jobs_finished ON processing_jobs (completed_at, id)
    WHERE status IN ('completed', 'failed', 'cancelled');
CREATE INDEX processing_jobs_stuck ON processing_jobs (alerted_at, accepted_at)
    WHERE status = 'processing';
CREATE INDEX processing_jobs_expiring ON processing_jobs (expires_at)
    WHERE status IN ('processing', 'retrieving') AND expires_at IS NOT NULL;
CREATE INDEX processing_jobs_short_id ON processing_jobs (substr(local_id, -8));
CREATE INDEX processing_jobs_server_id ON processing_jobs (service, substr(server_id, 1, 64))
    WHERE server_id IS NOT NULL;
CREATE INDEX processing_jobs_document ON processing_jobs (document_id)
    WHERE document_id IS NOT NULL;
CREATE INDEX processing_jobs_session ON processing_jobs (session_id)
    WHERE session_id IS NOT NULL;
CREATE INDEX processing_jobs_project ON processing_jobs (project)
    WHERE project IS NOT NULL;

-- A running job without a due time would never be polled: it is due since 1970 instead.
CREATE TRIGGER processing_jobs_due_insert AFTER INSERT ON processing_jobs
WHEN NEW.status = 'processing' AND NEW.next_poll_at IS NULL
BEGIN
    UPDATE processing_jobs SET next_poll_at = '1970-01-01T00:00:00.000Z' WHERE id = NEW.id;
END;
CREATE TRIGGER processing_jobs_due_update AFTER UPDATE OF status, next_poll_at ON processing_jobs
WHEN NEW.status = 'processing' AND NEW.next_poll_at IS NULL
BEGIN
    UPDATE processing_jobs SET next_poll_at = '1970-01-01T00:00:00.000Z' WHERE id = NEW.id;
END;

CREATE TABLE operations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    local_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    service TEXT NOT NULL,
    account TEXT NOT NULL DEFAULT '',
    priority INTEGER NOT NULL DEFAULT 2,
    state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'in_doubt', 'dead')),
    idempotency_key TEXT,
    payload TEXT NOT NULL DEFAULT '{}',
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt_at TEXT NOT NULL,
    last_attempt_at TEXT,
    last_http_status INTEGER,
    last_error TEXT,
    sent_at TEXT,
    claimed_by TEXT,
    lease INTEGER NOT NULL DEFAULT 0,
    lease_until TEXT,
    created_at TEXT NOT NULL,
    object_id INTEGER REFERENCES objects (id),
    -- Claims of it whose fate is not known: 0, and no attempt, means that nothing has left.
    unaccounted INTEGER NOT NULL DEFAULT 0
);

CREATE INDEX operations_due ON operations (service, priority, next_attempt_at)
    WHERE state = 'pending';
CREATE INDEX operations_sent ON operations (service, lease_until)
    WHERE state = 'pending' AND sent_at IS NOT NULL;
CREATE INDEX operations_job ON operations (local_id);
CREATE INDEX operations_dead ON operations (id) WHERE state <> 'pending';
CREATE INDEX operations_object ON operations (object_id) WHERE object_id IS NOT NULL;

CREATE TABLE objects (
    id INTEGER PRIMARY KEY,
    scheme TEXT NOT NULL,
    bucket TEXT NOT NULL DEFAULT '',
    key TEXT NOT NULL,
    version_id TEXT,
    upload_id TEXT,
    size INTEGER,
    etag TEXT,
    sha256 TEXT,
    name TEXT,
    media_type TEXT,
    owned INTEGER NOT NULL DEFAULT 1,
    state TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);

CREATE UNIQUE INDEX objects_place ON objects (scheme, bucket, key, coalesce(version_id, ''));

CREATE TABLE job_objects (
    local_id TEXT NOT NULL,
    object_id INTEGER NOT NULL REFERENCES objects (id),
    role TEXT NOT NULL,
    PRIMARY KEY (local_id, object_id, role)
) WITHOUT ROWID;

CREATE INDEX job_objects_object ON job_objects (object_id);

CREATE TABLE contents (
    local_id TEXT NOT NULL,
    role TEXT NOT NULL,
    id TEXT NOT NULL,
    media_type TEXT NOT NULL DEFAULT '',
    size INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    partial INTEGER NOT NULL DEFAULT 0,
    body BLOB,
    path TEXT,
    object_id INTEGER REFERENCES objects (id),
    created_at TEXT NOT NULL,
    PRIMARY KEY (local_id, role)
);

CREATE TABLE job_events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    local_id TEXT NOT NULL,
    user_id TEXT NOT NULL DEFAULT '',
    origin TEXT NOT NULL DEFAULT '',
    type TEXT NOT NULL,
    data TEXT NOT NULL DEFAULT '{}'
);

CREATE INDEX job_events_job ON job_events (local_id, seq);

CREATE TABLE services (
    service TEXT NOT NULL,
    account TEXT NOT NULL DEFAULT '',
    last_refresh_at TEXT,
    next_refresh_at TEXT,
    refresh_cursor TEXT,
    refresh_error TEXT,
    PRIMARY KEY (service, account)
) WITHOUT ROWID;

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

CREATE TABLE budgets (
    service TEXT NOT NULL,
    account TEXT NOT NULL DEFAULT '',
    kind TEXT NOT NULL DEFAULT '',
    next_call_at TEXT,
    paused_until TEXT,
    paused_why TEXT,
    pause_count INTEGER NOT NULL DEFAULT 0,
    failing_jobs INTEGER NOT NULL DEFAULT 0,
    fault TEXT,
    PRIMARY KEY (service, account, kind)
) WITHOUT ROWID;

CREATE TABLE pollers (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    host TEXT NOT NULL,
    scope TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started_at TEXT NOT NULL,
    seen_at TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE poll_runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    poller_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    started_at TEXT NOT NULL,
    duration_seconds REAL NOT NULL,
    polled INTEGER NOT NULL,
    completed INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    errors INTEGER NOT NULL
);

CREATE INDEX poll_runs_age ON poll_runs (started_at);

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

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
