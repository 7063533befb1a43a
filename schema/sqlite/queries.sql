-- Every statement of the store. Times are parameters: the store reads the clock, not SQLite.
-- PostgreSQL runs the same ones, but for those that schema/postgres/queries.sql has by the same name.

-- name: insert_job
INSERT INTO processing_jobs (
    local_id, server_id, server_key, service, account, job_type, user_id, session_id, project,
    document_id, status, payload, vars, traceparent, initiated_at, created_at, updated_at,
    accepted_at, estimated_completion_seconds, next_poll_at
) VALUES (
    :local_id, :server_id, :server_key, :service, :account, :job_type, :user_id, :session_id,
    :project, :document_id, :status, :payload, :vars, :traceparent, :initiated_at, :now, :now,
    :accepted_at, :estimated_completion_seconds, :next_poll_at
);

-- name: insert_operation
INSERT INTO operations (
    local_id, kind, service, account, priority, idempotency_key, payload, next_attempt_at,
    created_at, object_id
) VALUES (
    :local_id, :kind, :service, :account, :priority, :idempotency_key, :payload, :next_attempt_at,
    :now, :object_id
);

-- name: insert_event
INSERT INTO job_events (at, local_id, user_id, origin, type, data)
SELECT json_extract(value, '$.now'), json_extract(value, '$.local_id'),
    json_extract(value, '$.user_id'), json_extract(value, '$.origin'),
    json_extract(value, '$.type'), json_extract(value, '$.data')
FROM json_each(:rows) ORDER BY key;

-- name: standing_claims
SELECT json_group_array(json_array(j.id, j.local_id, j.user_id))
FROM json_each(:fences) AS f JOIN processing_jobs AS j ON j.id = json_extract(f.value, '$[0]')
WHERE j.lease = json_extract(f.value, '$[1]') AND j.status = 'processing';

-- name: insert_object
INSERT INTO objects (
    scheme, bucket, key, version_id, size, etag, sha256, name, media_type, owned, state,
    created_at, updated_at
) VALUES (
    :scheme, :bucket, :key, :version_id, :size, :etag, :sha256, :name, :media_type, :owned, :state,
    :now, :now
);

-- name: object_at
-- One without a version is the same object as any version of it: whichever goes, goes once.
SELECT id, state FROM objects
WHERE scheme = :scheme AND bucket = :bucket AND key = :key
    AND (version_id IS :version_id OR version_id IS NULL OR :version_id IS NULL)
ORDER BY version_id IS :version_id DESC, id DESC LIMIT 1;

-- name: take_back_removal
DELETE FROM operations
WHERE object_id = :id AND kind = 'remove_object' AND claimed_by IS NULL RETURNING id;

-- name: reuse_object
UPDATE objects
SET owned = max(owned, :owned), state = :state, version_id = coalesce(version_id, :version_id),
    size = coalesce(size, :size), etag = coalesce(etag, :etag), updated_at = :now
WHERE id = :id;

-- name: change_object
UPDATE objects
SET state = :state, version_id = coalesce(:version_id, version_id),
    upload_id = CASE WHEN :upload_id = '' THEN NULL ELSE coalesce(:upload_id, upload_id) END,
    etag = coalesce(:etag, etag), updated_at = :now
WHERE id = :id;

-- name: note_upload
UPDATE objects SET upload_id = coalesce(upload_id, :upload_id), updated_at = :now
WHERE id = :id AND key = :key RETURNING id;

-- name: forget_object
DELETE FROM objects
WHERE id = :id AND NOT EXISTS (SELECT 1 FROM job_objects AS jo WHERE jo.object_id = objects.id);

-- name: object_columns
o.id, o.scheme, o.bucket, o.key, o.version_id, o.upload_id, o.size, o.etag, o.sha256, o.name,
o.media_type, o.owned, o.state

-- name: objects_by_id
SELECT {object_columns} FROM objects AS o WHERE o.id IN (SELECT value FROM json_each(:ids));

-- name: insert_job_object
INSERT INTO job_objects (local_id, object_id, role) VALUES (:local_id, :object_id, :role)
ON CONFLICT DO NOTHING;

-- name: due_jobs
SELECT json_group_array(id), max(next_poll_at) FROM (
    SELECT id, next_poll_at FROM processing_jobs
    WHERE status = 'processing' AND service = :service AND next_poll_at <= :cutoff
        AND next_poll_at >= coalesce(:reached, '')
        AND (lease_until IS NULL OR lease_until <= :now)
    ORDER BY next_poll_at, initiated_at
    LIMIT :limit
);

-- name: claim_jobs
-- An error undoes the whole transaction, so that SQLite copies no page before it changes it, as it
-- does for a statement that may fail half-way.
UPDATE OR ROLLBACK processing_jobs
SET lease_until = :lease_until, claimed_by = :poller, lease = lease + 1
WHERE id IN (SELECT value FROM json_each(:ids));

-- name: claimed_jobs
SELECT {job_columns} FROM processing_jobs
WHERE id IN (SELECT value FROM json_each(:ids))
    AND +status = 'processing' AND claimed_by = :poller AND lease_until = :lease_until;

-- name: claim_these_jobs
UPDATE processing_jobs
SET lease_until = :lease_until, claimed_by = :poller, lease = lease + 1
WHERE id IN (
    -- The plus signs keep SQLite from walking all that is due instead of these few.
    SELECT id FROM processing_jobs
    WHERE local_id IN (SELECT value FROM json_each(:only))
        AND +status = 'processing' AND +service = :service AND +next_poll_at <= :cutoff
        AND (lease_until IS NULL OR lease_until <= :now)
    ORDER BY +next_poll_at, +initiated_at
    LIMIT :limit
)
RETURNING {job_columns};

-- name: job_columns
id, local_id, service, account, server_id, status, lease, next_poll_at, retry_count, progress,
remote_state, (julianday(:now) - julianday(coalesce(accepted_at, initiated_at))) * 86400.0,
(julianday(:now) - julianday(unknown_since)) * 86400.0, estimated_completion_seconds,
(julianday(:now) - julianday(progress_event_at)) * 86400.0, job_type, user_id, session_id,
project, document_id, initiated_at, payload, vars, remote_version, expires_at

-- name: claim_operations
UPDATE operations
SET lease_until = :lease_until, claimed_by = :poller, lease = lease + 1,
    unaccounted = unaccounted + 1
WHERE id IN (
    SELECT id FROM operations
    WHERE state = 'pending' AND service = :service AND priority IN (0, 1, 2, 3)
        AND next_attempt_at <= :now AND (attempts = 0 OR next_attempt_at <= :cutoff)
        AND kind IN (SELECT value FROM json_each(:kinds))
        AND sent_at IS NULL AND (lease_until IS NULL OR lease_until <= :now)
    ORDER BY priority, next_attempt_at
    LIMIT :limit
)
RETURNING {operation_columns};

-- name: claim_these_operations
UPDATE operations
SET lease_until = :lease_until, claimed_by = :poller, lease = lease + 1,
    unaccounted = unaccounted + 1
WHERE id IN (
    SELECT id FROM operations
    WHERE local_id IN (SELECT value FROM json_each(:only))
        AND +state = 'pending' AND +service = :service AND +next_attempt_at <= :now
        AND (attempts = 0 OR +next_attempt_at <= :cutoff)
        AND kind IN (SELECT value FROM json_each(:kinds))
        AND sent_at IS NULL AND (lease_until IS NULL OR lease_until <= :now)
    ORDER BY +priority, +next_attempt_at
    LIMIT :limit
)
RETURNING {operation_columns};

-- name: operation_columns
id, local_id, kind, lease, attempts, idempotency_key, payload, service, account, object_id,
priority, next_attempt_at, unaccounted

-- name: jobs_of_operations
SELECT {job_columns} FROM processing_jobs
WHERE local_id IN (SELECT value FROM json_each(:local_ids));

-- name: inputs_of
SELECT jo.local_id, {object_columns}
FROM job_objects AS jo JOIN objects AS o ON o.id = jo.object_id
WHERE jo.role = 'input' AND jo.local_id IN (SELECT value FROM json_each(:local_ids))
ORDER BY o.id;

-- name: record_intent
UPDATE operations SET sent_at = :now
WHERE id = :id AND lease = :lease AND state = 'pending' AND claimed_by = :poller
RETURNING id;

-- name: settle_running
UPDATE processing_jobs AS j
SET {running_assignments}
FROM (
    SELECT {running_columns}
    FROM json_each(:rows)
    LIMIT -1  -- or each of them would be extracted wherever it is used
) AS s
WHERE j.id = s.id AND j.lease = s.lease AND +j.status = 'processing';

-- name: settle_changed
UPDATE processing_jobs AS j
SET {running_assignments},
    {changed_assignments},
    {vars_assignments}
FROM (
    SELECT {running_columns},
        json_extract(value, '$.progress') AS progress,
        json_extract(value, '$.progress_event') AS progress_event,
        json_extract(value, '$.remote_state') AS remote_state,
        json_extract(value, '$.remote_version') AS remote_version,
        json_extract(value, '$.estimated_seconds') AS estimated_seconds,
        json_extract(value, '$.vars') AS vars, json_extract(value, '$.expires_at') AS expires_at
    FROM json_each(:rows)
    LIMIT -1  -- or each of them would be extracted wherever it is used
) AS s
WHERE j.id = s.id AND j.lease = s.lease AND +j.status = 'processing';

-- name: running_columns
json_extract(value, '$.id') AS id, json_extract(value, '$.lease') AS lease,
        json_extract(value, '$.due') AS due,
        json_extract(value, '$.next_poll_at') AS next_poll_at,
        json_extract(value, '$.now') AS now, json_extract(value, '$.retry_count') AS retry_count,
        json_extract(value, '$.unknown') AS unknown,
        json_extract(value, '$.http_status') AS http_status,
        json_extract(value, '$.duration') AS duration, json_extract(value, '$.error') AS error

-- name: running_assignments
next_poll_at = CASE WHEN j.next_poll_at = s.due THEN s.next_poll_at ELSE j.next_poll_at END,
    last_poll_at = s.now,
    poll_count = j.poll_count + 1,
    retry_count = s.retry_count,
    unknown_since = CASE
        WHEN s.unknown IS NULL THEN j.unknown_since
        WHEN s.unknown THEN coalesce(j.unknown_since, s.now)
    END,
    last_http_status = s.http_status,
    last_duration_seconds = s.duration,
    last_error = s.error,
    claimed_by = NULL,
    lease_until = NULL

-- name: changed_assignments
progress = coalesce(s.progress, j.progress),
    progress_event_at = CASE WHEN s.progress_event THEN s.now ELSE j.progress_event_at END,
    remote_state = coalesce(s.remote_state, j.remote_state),
    remote_version = coalesce(s.remote_version, j.remote_version),
    estimated_completion_seconds =
        coalesce(s.estimated_seconds, j.estimated_completion_seconds),
    expires_at = coalesce(s.expires_at, j.expires_at),
    version = j.version + 1,
    updated_at = s.now

-- name: vars_assignments
vars = coalesce(s.vars, j.vars)

-- name: transition
UPDATE processing_jobs
SET status = :status,
    failure_reason = :failure_reason,
    error_message = :error_message,
    completed_at = CASE
        WHEN :status IN ('completed', 'failed', 'cancelled') THEN :now
    END,
    -- completed_at is still the old one here: a job that is reopened forgets its end.
    result_content_id = CASE
        WHEN completed_at IS NULL THEN coalesce(:result_content_id, result_content_id)
    END,
    progress = CASE WHEN completed_at IS NULL THEN coalesce(:progress, progress) END,
    remote_state = coalesce(:remote_state, remote_state),
    remote_version = coalesce(:remote_version, remote_version),
    estimated_completion_seconds =
        coalesce(:estimated_seconds, estimated_completion_seconds),
    server_id = coalesce(:server_id, server_id),
    server_key = coalesce(:server_key, server_key),
    vars = coalesce(:vars, vars),
    last_synced = coalesce(:last_synced, last_synced),
    accepted_at = CASE WHEN :accepted THEN :now ELSE accepted_at END,
    deadline_at = coalesce(:deadline_at, deadline_at),
    expires_at = coalesce(:expires_at, expires_at),
    next_poll_at = :next_poll_at,
    last_poll_at = CASE WHEN :polled > 0 THEN :now ELSE last_poll_at END,
    poll_count = poll_count + :polled,
    retry_count = 0,
    unknown_since = NULL,
    last_http_status = coalesce(:http_status, last_http_status),
    last_duration_seconds = coalesce(:duration, last_duration_seconds),
    last_error = :last_error,
    claimed_by = NULL,
    lease_until = NULL,
    lease = lease + :raise_lease,
    version = version + 1,
    updated_at = :now
WHERE id = :id AND (:lease IS NULL OR lease = :lease)
    AND status IN (SELECT value FROM json_each(:from_statuses))
RETURNING local_id, user_id, status;

-- name: note_acceptance
UPDATE processing_jobs
SET server_id = coalesce(server_id, :server_id), server_key = coalesce(server_key, :server_key),
    accepted_at = coalesce(accepted_at, :now), version = version + 1, updated_at = :now
WHERE id = :id;

-- name: job_with_server_key
SELECT local_id, found_at >= (
    SELECT o.created_at FROM operations AS o WHERE o.id = :operation_id
) AND NOT EXISTS (
    SELECT 1 FROM operations AS o
    WHERE o.local_id = j.local_id AND o.kind IN ('update', 'cancel', 'delete')
)
FROM processing_jobs AS j WHERE server_key = :server_key AND id <> :id;

-- name: keep_content
INSERT INTO contents (
    local_id, role, id, media_type, size, sha256, partial, body, path, object_id, created_at
) VALUES (
    :local_id, :role, :content_id, :media_type, :size, :sha256, :partial, :body, :path, :object_id,
    :now
)
ON CONFLICT (local_id, role) DO UPDATE SET
    id = excluded.id, media_type = excluded.media_type, size = excluded.size,
    sha256 = excluded.sha256, partial = excluded.partial, body = excluded.body,
    path = excluded.path, object_id = excluded.object_id, created_at = excluded.created_at;

-- name: finish_operation
DELETE FROM operations WHERE id = :id AND lease = :lease AND state IN ('pending', 'in_doubt')
RETURNING local_id;

-- name: retry_operation
UPDATE operations
SET attempts = attempts + :burnt, state = :state, next_attempt_at = :next_attempt_at,
    last_attempt_at = :now, last_http_status = :http_status, last_error = :error,
    payload = coalesce(:payload, payload), sent_at = NULL, claimed_by = NULL, lease_until = NULL,
    unaccounted = unaccounted - (1 - :burnt)
WHERE id = :id AND lease = :lease AND state = 'pending'
RETURNING local_id;

-- name: release_job
UPDATE processing_jobs SET claimed_by = NULL, lease_until = NULL
WHERE id = :id AND lease = :lease;

-- name: release_operation
UPDATE operations
SET claimed_by = NULL, lease_until = NULL, sent_at = NULL, unaccounted = unaccounted - 1
WHERE id = :id AND lease = :lease AND state = 'pending';

-- name: extend_jobs
UPDATE processing_jobs SET lease_until = :lease_until WHERE id = :id AND lease = :lease
    AND claimed_by IS NOT NULL;

-- name: extend_operations
UPDATE operations SET lease_until = :lease_until WHERE id = :id AND lease = :lease
    AND claimed_by IS NOT NULL;

-- name: release_jobs_of
UPDATE processing_jobs SET claimed_by = NULL, lease_until = NULL
WHERE status = 'processing' AND service = :service AND next_poll_at <= :now
    AND claimed_by = :poller;

-- name: doubt_operations_of
UPDATE operations
SET state = 'in_doubt', claimed_by = NULL, lease_until = NULL, last_attempt_at = sent_at,
    last_error = 'the process ended between the call and its reply'
WHERE state = 'pending' AND sent_at IS NOT NULL AND claimed_by = :poller
RETURNING local_id, kind,
    -- RETURNING has lost the column's affinity, without which the index is not used.
    (
        SELECT user_id FROM processing_jobs AS j
        WHERE j.local_id = CAST(operations.local_id AS TEXT)
    );

-- name: overdue_doubts
SELECT 1 FROM operations
WHERE state = 'pending' AND service = :service AND sent_at IS NOT NULL AND lease_until <= :now
LIMIT 1;

-- name: doubt_overdue_operations
UPDATE operations
SET state = 'in_doubt', claimed_by = NULL, lease_until = NULL, last_attempt_at = sent_at,
    last_error = 'no reply was recorded before the claim ran out'
WHERE state = 'pending' AND service = :service AND sent_at IS NOT NULL AND lease_until <= :now
RETURNING local_id, kind,
    -- RETURNING has lost the column's affinity, without which the index is not used.
    (
        SELECT user_id FROM processing_jobs AS j
        WHERE j.local_id = CAST(operations.local_id AS TEXT)
    );

-- name: release_operations_of
UPDATE operations SET claimed_by = NULL, lease_until = NULL
WHERE state = 'pending' AND claimed_by = :poller;

-- name: beat
INSERT INTO pollers (id, kind, host, scope, pid, started_at, seen_at)
VALUES (:id, :kind, :host, :scope, :pid, :now, :now)
ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at;

-- name: pollers
SELECT id, kind, host, scope, pid, started_at, seen_at FROM pollers ORDER BY started_at;

-- name: remove_poller
DELETE FROM pollers WHERE id = :id;

-- name: services_with_running_jobs
WITH RECURSIVE found (service) AS (
    SELECT min(service) FROM processing_jobs WHERE status = 'processing'
    UNION ALL
    SELECT (
        SELECT min(service) FROM processing_jobs
        WHERE status = 'processing' AND service > found.service
    )
    FROM found WHERE found.service IS NOT NULL
)
SELECT service FROM found WHERE service IS NOT NULL;

-- name: services_with_operations
WITH RECURSIVE found (service) AS (
    SELECT min(service) FROM operations WHERE state = 'pending'
    UNION ALL
    SELECT (
        SELECT min(service) FROM operations
        WHERE state = 'pending' AND service > found.service
    )
    FROM found WHERE found.service IS NOT NULL
)
SELECT service FROM found WHERE service IS NOT NULL;

-- name: earliest_poll
SELECT next_poll_at FROM processing_jobs
WHERE status = 'processing' AND service = :service
    AND (lease_until IS NULL OR lease_until <= :now)
ORDER BY next_poll_at LIMIT 1;

-- name: earliest_poll_of
SELECT min(+next_poll_at) FROM processing_jobs
WHERE local_id IN (SELECT value FROM json_each(:only))
    AND +status = 'processing' AND +service = :service
    AND (lease_until IS NULL OR lease_until <= :now);

-- name: earliest_attempt
WITH p (value) AS (VALUES (0), (1), (2), (3))
SELECT min(at) FROM (
    SELECT (
        SELECT next_attempt_at FROM operations
        WHERE state = 'pending' AND service = :service AND priority = p.value AND sent_at IS NULL
            AND (lease_until IS NULL OR lease_until <= :now)
            AND (:kinds IS NULL OR kind IN (SELECT value FROM json_each(:kinds)))
        ORDER BY next_attempt_at LIMIT 1
    ) AS at
    FROM p
) AS of_priority;

-- name: earliest_attempt_of
SELECT min(+next_attempt_at) FROM operations
WHERE local_id IN (SELECT value FROM json_each(:only))
    AND +state = 'pending' AND +service = :service AND sent_at IS NULL
    AND (lease_until IS NULL OR lease_until <= :now)
    AND (:kinds IS NULL OR kind IN (SELECT value FROM json_each(:kinds)));

-- name: count_due
SELECT count(*) FROM processing_jobs
WHERE status = 'processing' AND service = :service AND next_poll_at <= :cutoff;

-- name: budget
SELECT kind, next_call_at, paused_until, paused_why, pause_count, failing_jobs, fault
FROM budgets WHERE service = :service AND account = :account AND kind IN ('', :calls);

-- name: budgets
SELECT
    service, account, kind, next_call_at, paused_until, paused_why, pause_count, failing_jobs, fault
FROM budgets ORDER BY service, account, kind;

-- name: take_tokens
INSERT INTO budgets (service, account, kind, next_call_at)
VALUES (:service, :account, :calls, :next_call_at)
ON CONFLICT (service, account, kind) DO UPDATE SET next_call_at = excluded.next_call_at;

-- name: pause_service
INSERT INTO budgets (
    service, account, kind, paused_until, paused_why, pause_count, failing_jobs, fault
) VALUES (
    :service, :account, :calls, :paused_until, :why, :pause_count, :failing_jobs, :fault
)
ON CONFLICT (service, account, kind) DO UPDATE SET
    paused_until = excluded.paused_until, paused_why = excluded.paused_why,
    pause_count = excluded.pause_count, failing_jobs = excluded.failing_jobs,
    fault = excluded.fault;

-- name: pauses_for
SELECT 1 FROM budgets
WHERE paused_until > :now AND fault IN (SELECT value FROM json_each(:faults))
    AND (:service IS NULL OR service = :service);

-- name: end_pauses
-- That there was a pause stays on record: a single probe goes out first.
UPDATE budgets SET paused_until = NULL
WHERE paused_until > :now AND fault IN (SELECT value FROM json_each(:faults))
    AND (:service IS NULL OR service = :service)
RETURNING service;

-- name: insert_run
INSERT INTO poll_runs (
    poller_id, kind, started_at, duration_seconds, polled, completed, failed, errors
) VALUES (
    :poller_id, :kind, :started_at, :duration, :polled, :completed, :failed, :errors
);

-- name: prune_runs
DELETE FROM poll_runs WHERE started_at < :before;

-- name: first_events
SELECT seq, at FROM job_events WHERE seq > 0 ORDER BY seq LIMIT :limit;

-- name: prune_events
DELETE FROM job_events WHERE seq <= :last;

-- name: get_meta
SELECT value FROM meta WHERE key = :key;

-- name: set_meta
INSERT INTO meta (key, value) VALUES (:key, :value)
ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: shift_jobs
UPDATE processing_jobs
SET next_poll_at = strftime('%Y-%m-%dT%H:%M:%fZ', next_poll_at, :shift),
    lease_until = strftime('%Y-%m-%dT%H:%M:%fZ', lease_until, :shift)
WHERE status = 'processing';

-- name: shift_operations
UPDATE operations
SET next_attempt_at = strftime('%Y-%m-%dT%H:%M:%fZ', next_attempt_at, :shift),
    lease_until = strftime('%Y-%m-%dT%H:%M:%fZ', lease_until, :shift)
WHERE state = 'pending';

-- name: shift_budgets
UPDATE budgets
SET next_call_at = strftime('%Y-%m-%dT%H:%M:%fZ', next_call_at, :shift),
    paused_until = strftime('%Y-%m-%dT%H:%M:%fZ', paused_until, :shift);

-- name: get_jobs
SELECT {view_columns} FROM jobs WHERE local_id IN (SELECT value FROM json_each(:local_ids));

-- name: view_columns
local_id, service, status, server_id, account, job_type, user_id, session_id, project, document_id,
sync_status, failure_reason, error_message, result_content_id, progress, remote_state,
remote_version, payload, vars, initiated_at, created_at, updated_at, accepted_at, completed_at,
deadline_at, expires_at, unknown_since, estimated_completion_seconds, next_poll_at, last_poll_at,
retry_count, poll_count, last_http_status, last_duration_seconds, last_error, cancel_requested_at,
traceparent, claimed_by, lease_until, version

-- name: find_by_start
SELECT local_id FROM processing_jobs
WHERE local_id >= :start AND local_id < :stop ORDER BY local_id LIMIT 3;

-- name: find_by_end
SELECT local_id FROM processing_jobs WHERE substr(local_id, -:length) = :ending LIMIT 3;

-- name: find_by_short_id
SELECT local_id FROM processing_jobs
WHERE substr(local_id, -8) = substr(:ending, -8) AND substr(local_id, -:length) = :ending LIMIT 3;

-- name: find_by_server_id
SELECT local_id FROM processing_jobs
WHERE service = :service AND substr(server_id, 1, 64) = substr(:server_id, 1, 64)
    AND server_id = :server_id LIMIT 3;

-- name: row_id_of
SELECT id, status, user_id, last_poll_at FROM processing_jobs WHERE local_id = :local_id;

-- name: due_now
UPDATE processing_jobs SET next_poll_at = :next_poll_at
WHERE id = :id AND status = 'processing' AND next_poll_at > :next_poll_at;

-- name: drop_unclaimed_operations
DELETE FROM operations
WHERE local_id = :local_id AND kind = :kind AND (state <> 'pending' OR claimed_by IS NULL);

-- name: operations_of
SELECT id, local_id, kind, service, account, state, priority, attempts, unaccounted,
    next_attempt_at, last_attempt_at, last_http_status, last_error, idempotency_key, claimed_by, lease_until, sent_at, created_at,
    object_id
FROM operations WHERE local_id = :local_id ORDER BY id;

-- name: outbox_columns
p.id, p.local_id, p.kind, p.service, p.state, p.priority, p.attempts, p.next_attempt_at,
p.last_attempt_at, p.last_http_status, p.last_error, p.claimed_by, p.created_at,
CASE o.scheme WHEN 's3' THEN 's3://' || o.bucket || '/' || o.key ELSE o.key END AS object

-- name: outbox
SELECT {outbox_columns}
FROM operations AS p LEFT JOIN objects AS o ON o.id = p.object_id
WHERE p.id > :after AND (:state IS NULL OR p.state = :state)
ORDER BY p.id LIMIT :limit;

-- name: outbox_of
SELECT {outbox_columns}
FROM operations AS p LEFT JOIN objects AS o ON o.id = p.object_id
WHERE p.local_id = :local_id AND p.id > :after AND (:state IS NULL OR p.state = :state)
ORDER BY p.id LIMIT :limit;

-- name: count_outbox
SELECT count(*) FROM operations WHERE :state IS NULL OR state = :state;

-- name: count_outbox_of
SELECT count(*) FROM operations
WHERE local_id = :local_id AND (:state IS NULL OR state = :state);

-- name: removals_owed
SELECT count(*) FROM operations WHERE service = :service AND state = 'pending';

-- name: contents_of
SELECT id, role, media_type, size, sha256, partial, path, object_id, created_at
FROM contents WHERE local_id = :local_id ORDER BY role;

-- name: files_on_record
SELECT key FROM objects
WHERE scheme = 'file' AND bucket = '' AND key IN (SELECT value FROM json_each(:paths));

-- name: paths_of_contents
SELECT local_id, path FROM contents
WHERE path IS NOT NULL AND local_id IN (SELECT value FROM json_each(:local_ids));

-- name: content_body
SELECT body, path, object_id FROM contents WHERE local_id = :local_id AND role = :role;

-- name: objects_of
SELECT jo.role, {object_columns}, o.created_at, o.updated_at
FROM job_objects AS jo JOIN objects AS o ON o.id = jo.object_id
WHERE jo.local_id = :local_id ORDER BY o.id;

-- name: events
SELECT seq, at, local_id, user_id, origin, type, data FROM job_events
WHERE seq > :after ORDER BY seq LIMIT :limit;

-- name: events_of
SELECT seq, at, local_id, user_id, origin, type, data FROM job_events
WHERE local_id = :local_id AND seq > :after ORDER BY seq LIMIT :limit;

-- name: last_event
SELECT coalesce(max(seq), 0) FROM job_events;

-- name: counts
SELECT status, count(*) FROM processing_jobs
WHERE status IN ('pending', 'processing', 'retrieving') GROUP BY status;

-- name: operation_counts
SELECT state, count(*) FROM operations GROUP BY state;

-- name: finished_page
SELECT id, completed_at, local_id, service, status,
    EXISTS (SELECT 1 FROM operations AS o WHERE o.local_id = processing_jobs.local_id),
    server_id IS NOT NULL
FROM processing_jobs
WHERE status IN ('completed', 'failed', 'cancelled')
    AND (completed_at, id) > (:completed_at, :id) AND completed_at < :before
ORDER BY completed_at, id LIMIT :limit;

-- name: end_of_kept
SELECT completed_at, id FROM processing_jobs
WHERE status IN ('completed', 'failed', 'cancelled')
ORDER BY completed_at DESC, id DESC LIMIT 1 OFFSET :keep;

-- name: still_cleanable
SELECT j.id, j.local_id, j.user_id, j.service, j.account, j.server_id, j.vars, j.payload
FROM json_each(:found) AS f JOIN processing_jobs AS j ON j.id = json_extract(f.value, '$[0]')
WHERE j.status IN ('completed', 'failed', 'cancelled')
    AND j.completed_at = json_extract(f.value, '$[1]')
    AND NOT EXISTS (SELECT 1 FROM operations AS o WHERE o.local_id = j.local_id);

-- name: owned_objects_of
SELECT DISTINCT {object_columns},
    (SELECT count(DISTINCT u.local_id) FROM job_objects AS u WHERE u.object_id = o.id)
FROM job_objects AS jo JOIN objects AS o ON o.id = jo.object_id
WHERE o.owned = 1 AND jo.local_id = :local_id ORDER BY o.id;

-- name: kept_files_of
SELECT c.path, c.size FROM contents AS c
WHERE c.local_id = :local_id AND c.path IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM objects AS o WHERE o.scheme = 'file' AND o.bucket = '' AND o.key = c.path
);

-- name: request_removal_of_results
INSERT INTO objects (scheme, key, size, sha256, owned, state, created_at, updated_at)
SELECT 'file', path, size, sha256, 1, 'removal_requested', :now, :now FROM contents
WHERE path IS NOT NULL AND local_id IN (SELECT value FROM json_each(:local_ids))
ON CONFLICT DO NOTHING
RETURNING id, scheme, size, key;

-- name: release_objects
DELETE FROM job_objects WHERE local_id IN (SELECT value FROM json_each(:local_ids))
RETURNING object_id, local_id;

-- name: request_removal_of_objects
UPDATE objects SET state = 'removal_requested', updated_at = :now
WHERE id IN (SELECT value FROM json_each(:object_ids)) AND owned = 1
    AND state <> 'removal_requested'
    AND NOT EXISTS (SELECT 1 FROM job_objects AS jo WHERE jo.object_id = objects.id)
RETURNING id, scheme, size;

-- name: forget_foreign_objects
DELETE FROM objects
WHERE id IN (SELECT value FROM json_each(:object_ids)) AND owned = 0
    AND NOT EXISTS (SELECT 1 FROM job_objects AS jo WHERE jo.object_id = objects.id);

-- name: hand_over_objects
DELETE FROM objects
WHERE id IN (SELECT value FROM json_each(:object_ids)) AND +scheme = 's3' AND state = 'present'
    AND upload_id IS NULL
    AND NOT EXISTS (SELECT 1 FROM job_objects AS jo WHERE jo.object_id = objects.id);

-- name: delete_contents
DELETE FROM contents WHERE local_id IN (SELECT value FROM json_each(:local_ids));

-- name: delete_jobs
DELETE FROM processing_jobs WHERE id IN (SELECT value FROM json_each(:ids));

-- name: whole_jobs
SELECT * FROM processing_jobs WHERE local_id IN (SELECT value FROM json_each(:local_ids));

-- name: whole_contents
SELECT * FROM contents WHERE local_id IN (SELECT value FROM json_each(:local_ids));

-- name: whole_objects
SELECT jo.local_id, jo.role, {object_columns}
FROM job_objects AS jo JOIN objects AS o ON o.id = jo.object_id
WHERE jo.local_id IN (SELECT value FROM json_each(:local_ids));

-- name: whole_events
SELECT seq, at, local_id, type, data FROM job_events
WHERE local_id IN (SELECT value FROM json_each(:local_ids)) ORDER BY seq;

-- name: job_to_change
SELECT id, status, user_id, service, account, server_id, payload, last_synced, remote_version
FROM processing_jobs WHERE local_id = :local_id;

-- name: owed_to_service
SELECT id, kind, state, attempts, unaccounted, claimed_by, payload FROM operations
WHERE local_id = :local_id AND kind IN ('upload_input', 'create', 'update', 'cancel', 'delete')
ORDER BY id;

-- name: change_payload
UPDATE processing_jobs SET payload = :payload, version = version + 1, updated_at = :now
WHERE id = :id;

-- name: set_operation_payload
UPDATE operations SET payload = :payload WHERE id = :id;

-- name: drop_operation
DELETE FROM operations WHERE id = :id AND (state <> 'pending' OR claimed_by IS NULL)
RETURNING id;

-- name: promote
-- Who waits for the one before it has no due time; the first in the line gets one.
UPDATE operations SET next_attempt_at = :now
WHERE next_attempt_at >= '9999-01-01' AND state = 'pending' AND id = (
    SELECT min(id) FROM operations
    WHERE local_id = :local_id
        AND kind IN ('upload_input', 'create', 'update', 'cancel', 'delete')
);

-- name: wish_to_cancel
UPDATE processing_jobs
SET cancel_requested_at = :now, version = version + 1, updated_at = :now WHERE id = :id;

-- name: stop_polling
UPDATE processing_jobs SET next_poll_at = :far WHERE id = :id AND status = 'processing';

-- name: resume_polling
UPDATE processing_jobs SET next_poll_at = :now
WHERE local_id = :local_id AND status = 'processing' AND next_poll_at >= '9999-01-01';

-- name: note_synced
UPDATE processing_jobs
SET last_synced = :last_synced, remote_version = coalesce(:remote_version, remote_version),
    synced_at = :now
WHERE local_id = :local_id;

-- name: operation_by_id
SELECT id, local_id, kind, service, state, claimed_by, last_error, last_http_status, object_id,
    payload
FROM operations WHERE id = :id;

-- name: revive_operation
UPDATE operations
SET state = 'pending', attempts = 0, next_attempt_at = :next_attempt_at, claimed_by = NULL,
    lease_until = NULL, sent_at = NULL
WHERE id = :id;

-- name: job_of
SELECT id, local_id, user_id, service, account, server_id, vars, payload
FROM processing_jobs WHERE local_id = :local_id;

-- name: postpone
UPDATE operations SET next_attempt_at = :far WHERE id = :id;

-- name: oldest_operation
SELECT min(created_at) FROM operations;

-- name: stuck_operations
SELECT count(*) FROM operations WHERE state = 'pending' AND next_attempt_at < :stuck;

-- name: stuck_jobs
SELECT local_id FROM processing_jobs WHERE status = 'processing' AND alerted_at > '1970-01-01'
UNION ALL
SELECT local_id FROM processing_jobs
WHERE status = 'processing' AND alerted_at IS NULL AND accepted_at < :stuck
LIMIT :limit;

-- name: expiring
-- Not fetched yet, or not asked for although it is due.
SELECT local_id, expires_at FROM processing_jobs
WHERE status IN ('processing', 'retrieving') AND expires_at < :soon
    AND (
        status = 'processing' AND next_poll_at < :late
        OR status = 'retrieving' AND updated_at < :late
    )
ORDER BY expires_at LIMIT :limit;

-- name: unalerted
SELECT 1 FROM processing_jobs
WHERE status = 'processing' AND alerted_at IS NULL AND accepted_at < :before LIMIT 1;

-- name: alert_stuck
UPDATE processing_jobs SET alerted_at = :now
WHERE id IN (
    SELECT id FROM processing_jobs
    WHERE status = 'processing' AND alerted_at IS NULL AND accepted_at < :before LIMIT 500
)
RETURNING local_id, user_id, accepted_at;

-- name: ends_since
SELECT count(*), coalesce(sum(
    status IN ('completed', 'cancelled')
    OR failure_reason IN (SELECT value FROM json_each(:right))
), 0)
FROM processing_jobs
WHERE status IN ('completed', 'failed', 'cancelled') AND completed_at >= :day;

-- name: size_of_processing_jobs
SELECT count(*) FROM processing_jobs;

-- name: size_of_operations
SELECT count(*) FROM operations;

-- name: size_of_objects
SELECT count(*) FROM objects;

-- name: size_of_contents
SELECT count(*) FROM contents;

-- name: size_of_job_events
SELECT count(*) FROM job_events;

-- name: size_of_poll_runs
SELECT count(*) FROM poll_runs;

-- name: database_bytes
SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size();

-- name: open_refresh
SELECT id, next_attempt_at <= :now, attempts, payload FROM operations
WHERE state = 'pending' AND service = :service AND account = :account AND kind = 'refresh'
    AND (lease_until IS NULL OR lease_until <= :now);

-- name: is_refreshing
SELECT 1 FROM operations
WHERE state = 'pending' AND service = :service AND account = :account AND kind = 'refresh' LIMIT 1;

-- name: go_on_refreshing
-- Each page has its attempts.
UPDATE operations SET payload = :payload, attempts = 0 WHERE id = :id;

-- name: hurry_operation
UPDATE operations SET next_attempt_at = min(next_attempt_at, :now) WHERE id = :id;

-- name: service_state
SELECT last_refresh_at, next_refresh_at FROM services
WHERE service = :service AND account = :account;

-- name: note_refresh_owed
INSERT INTO services (service, account, next_refresh_at)
VALUES (:service, :account, :next_refresh_at)
ON CONFLICT (service, account) DO UPDATE SET next_refresh_at = excluded.next_refresh_at;

-- name: forget_version
UPDATE processing_jobs SET remote_version = NULL WHERE id = :id;

-- name: hurry_listing
UPDATE services SET next_refresh_at = min(next_refresh_at, :now)
WHERE service = :service AND account = :account AND next_refresh_at IS NOT NULL;

-- name: note_refreshed
UPDATE services
SET refresh_error = :error, last_refresh_at = coalesce(:began, last_refresh_at)
WHERE service = :service AND account = :account;

-- name: listings
SELECT service, account, last_refresh_at, next_refresh_at, refresh_error FROM services
ORDER BY service, account;

-- name: stage
INSERT INTO listed (
    operation_id, server_key, server_id, state, word, version, updated_at, fields, vars
) VALUES (
    :operation_id, :server_key, :server_id, :state, :word, :version, :updated_at, :fields, :vars
)
ON CONFLICT (operation_id, server_key) DO UPDATE SET
    state = excluded.state, word = excluded.word, version = excluded.version,
    updated_at = excluded.updated_at, fields = excluded.fields, vars = excluded.vars;

-- name: unstage
DELETE FROM listed WHERE operation_id = :operation_id;

-- name: count_staged
SELECT count(*) FROM listed WHERE operation_id = :operation_id;

-- name: last_of_batch
SELECT server_key FROM listed WHERE operation_id = :operation_id
ORDER BY server_key LIMIT 1 OFFSET :skip;

-- name: unstage_batch
DELETE FROM listed WHERE operation_id = :operation_id AND server_key <= :last;

-- name: staged_changes
-- Those only about which the listing says something new.
SELECT j.id, j.local_id, j.user_id, j.status, j.remote_state, j.remote_version, j.payload,
    j.last_synced,
    EXISTS (
        SELECT 1 FROM operations AS o
        WHERE o.local_id = j.local_id AND o.kind IN ('update', 'delete')
    ),
    coalesce(j.synced_at >= :began, 0), l.word, l.version, l.updated_at, l.fields
FROM listed AS l JOIN processing_jobs AS j ON j.server_key = l.server_key
WHERE l.operation_id = :operation_id AND l.server_key <= :last AND (
    (l.word IS NOT NULL AND l.word IS NOT j.remote_state AND (
        j.status = 'processing' OR j.remote_state IS NOT NULL
    ))
    OR (l.version IS NOT NULL AND l.version IS NOT j.remote_version)
    OR EXISTS (
        SELECT 1
        FROM json_each(l.fields) AS there
        LEFT JOIN json_each(coalesce(j.last_synced, '{}')) AS before ON before.key = there.key
        WHERE there.value IS NOT before.value OR there.type IS NOT before.type
    )
);

-- name: staged_unknown
SELECT l.server_key, l.server_id, l.fields, l.vars, l.version FROM listed AS l
WHERE l.operation_id = :operation_id AND l.server_key <= :last
    AND NOT EXISTS (SELECT 1 FROM processing_jobs AS j WHERE j.server_key = l.server_key)
    AND NOT EXISTS (SELECT 1 FROM tombstones AS t WHERE t.server_key = l.server_key)
ORDER BY l.server_key;

-- name: oldest_create_on_its_way
SELECT min(created_at) FROM operations
WHERE state = 'pending' AND service = :service AND account = :account AND kind = 'create'
    AND (claimed_by IS NOT NULL OR attempts > 0 OR unaccounted > 0);

-- name: meet
INSERT INTO strangers (server_key, seen_at) VALUES (:server_key, :now) ON CONFLICT DO NOTHING;

-- name: met_before
SELECT server_key FROM strangers
WHERE seen_at < :before AND server_key IN (SELECT value FROM json_each(:keys));

-- name: prune_strangers
DELETE FROM strangers WHERE seen_at < :before;

-- name: insert_found_job
INSERT INTO processing_jobs (
    local_id, server_id, server_key, service, account, status, payload, vars, last_synced,
    remote_version, initiated_at, created_at, updated_at, accepted_at, found_at, next_poll_at
) VALUES (
    :local_id, :server_id, :server_key, :service, :account, 'processing', :payload, :vars,
    :payload, :version, :now, :now, :now, :now, :now, :now
);

-- name: note_listed
UPDATE processing_jobs
SET last_synced = :last_synced, remote_version = coalesce(:remote_version, remote_version),
    remote_state = coalesce(:late_word, remote_state)
WHERE id = :id;

-- name: open_updates
SELECT id, payload, claimed_by, attempts = 0 AND unaccounted = 0 AND claimed_by IS NULL
FROM operations WHERE local_id = :local_id AND kind = 'update' ORDER BY id;

-- name: count_synced
SELECT count(*) FROM processing_jobs
WHERE service = :service AND account = :account AND server_id IS NOT NULL;

-- name: missing_condition
j.service = :service AND j.account = :account AND j.server_id IS NOT NULL
    AND j.server_key IS NOT NULL AND coalesce(j.accepted_at, j.created_at) < :began
    AND NOT EXISTS (
        SELECT 1 FROM listed AS l
        WHERE l.operation_id = :operation_id AND l.server_key = j.server_key
    )
    AND NOT EXISTS (SELECT 1 FROM operations AS o WHERE o.local_id = j.local_id)

-- name: count_missing
SELECT count(*) FROM processing_jobs AS j WHERE {missing_condition};

-- name: missing_jobs
SELECT j.id, j.local_id, j.user_id, j.service, j.account, j.server_id, j.vars, j.payload
FROM processing_jobs AS j
WHERE j.id > :after_id AND {missing_condition}
ORDER BY j.id LIMIT :limit;

-- name: bury
INSERT INTO tombstones (server_key, deleted_at)
SELECT server_key, :now FROM processing_jobs
WHERE id IN (SELECT value FROM json_each(:ids)) AND server_key IS NOT NULL
ON CONFLICT (server_key) DO UPDATE SET deleted_at = excluded.deleted_at;

-- name: unbury
DELETE FROM tombstones WHERE server_key = :server_key;

-- name: prune_tombstones
DELETE FROM tombstones WHERE deleted_at < :before;

-- name: any_refresh
SELECT 1 FROM operations
WHERE state = 'pending' AND service IN (SELECT value FROM json_each(:services))
    AND kind = 'refresh' LIMIT 1;

-- name: other_refreshes
SELECT 1 FROM services
WHERE next_refresh_at IS NOT NULL AND service NOT IN (SELECT value FROM json_each(:services));

-- name: forget_refreshes
UPDATE services SET next_refresh_at = NULL
WHERE service NOT IN (SELECT value FROM json_each(:services));

-- name: next_refresh
SELECT min(next_refresh_at) FROM services;

-- name: claim_overdue_operations
-- What is of low priority and has waited for long gets a share of every claim.
UPDATE operations
SET lease_until = :lease_until, claimed_by = :poller, lease = lease + 1,
    unaccounted = unaccounted + 1
WHERE id IN (
    SELECT id FROM (
        SELECT id FROM operations
        WHERE state = 'pending' AND service = :service AND priority = 3
            AND next_attempt_at <= :overdue AND (attempts = 0 OR next_attempt_at <= :cutoff)
            AND kind IN (SELECT value FROM json_each(:kinds))
            AND sent_at IS NULL AND (lease_until IS NULL OR lease_until <= :now)
        ORDER BY next_attempt_at LIMIT :share
    )
    UNION ALL
    SELECT id FROM (
        SELECT id FROM operations
        WHERE state = 'pending' AND service = :service AND priority = 2
            AND next_attempt_at <= :overdue AND (attempts = 0 OR next_attempt_at <= :cutoff)
            AND kind IN (SELECT value FROM json_each(:kinds))
            AND sent_at IS NULL AND (lease_until IS NULL OR lease_until <= :now)
        ORDER BY next_attempt_at LIMIT :share
    )
)
RETURNING {operation_columns};

-- name: abandon_operation
-- Its call may be on its way: the claim stays unaccounted for.
UPDATE operations SET claimed_by = NULL, lease_until = NULL, sent_at = NULL
WHERE id = :id AND lease = :lease AND state = 'pending';

-- name: become_operation
-- In the place of the one before it: what was asked for later stays behind it.
UPDATE operations
SET kind = :kind, service = :service, account = :account, payload = :payload, object_id = NULL,
    attempts = 0, unaccounted = 0, next_attempt_at = :now, last_attempt_at = NULL,
    last_http_status = NULL, last_error = NULL, claimed_by = NULL, lease_until = NULL
WHERE id = :id AND lease = :lease AND state = 'pending'
RETURNING local_id;

-- name: drop_dead_before_deletion
DELETE FROM operations
WHERE local_id = :local_id AND state = 'dead'
    AND kind IN ('upload_input', 'create', 'update', 'cancel') AND EXISTS (
        SELECT 1 FROM operations AS d WHERE d.local_id = :local_id AND d.kind = 'delete'
    )
RETURNING kind, payload;

-- name: deletion_of
SELECT id, payload FROM operations WHERE local_id = :local_id AND kind = 'delete';
