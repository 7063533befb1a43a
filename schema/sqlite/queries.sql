-- Every statement of the store. Times are parameters: the store reads the clock, not SQLite.

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
VALUES (:now, :local_id, :user_id, :origin, :type, :data);

-- name: insert_fenced_event
INSERT INTO job_events (at, local_id, user_id, origin, type, data)
SELECT :now, local_id, user_id, :origin, :type, :data
FROM processing_jobs
WHERE id = :id AND lease = :lease AND status = 'processing';

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

-- name: claim_jobs
UPDATE processing_jobs
SET lease_until = :lease_until, claimed_by = :poller, lease = lease + 1
WHERE id IN (
    SELECT id FROM processing_jobs
    WHERE status = 'processing' AND service = :service AND next_poll_at <= :cutoff
        AND (lease_until IS NULL OR lease_until <= :now)
    ORDER BY next_poll_at, initiated_at
    LIMIT :limit
)
RETURNING {job_columns};

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
project, document_id, initiated_at, payload, vars

-- name: claim_operations
UPDATE operations
SET lease_until = :lease_until, claimed_by = :poller, lease = lease + 1
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
SET lease_until = :lease_until, claimed_by = :poller, lease = lease + 1
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
priority, next_attempt_at

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
UPDATE processing_jobs
SET next_poll_at = CASE WHEN next_poll_at = :due THEN :next_poll_at ELSE next_poll_at END,
    last_poll_at = :now,
    poll_count = poll_count + 1,
    retry_count = :retry_count,
    unknown_since = CASE
        WHEN :unknown IS NULL THEN unknown_since WHEN :unknown THEN coalesce(unknown_since, :now)
    END,
    last_http_status = :http_status,
    last_duration_seconds = :duration,
    last_error = :error,
    claimed_by = NULL,
    lease_until = NULL
WHERE id = :id AND lease = :lease AND status = 'processing';

-- name: settle_changed
UPDATE processing_jobs
SET progress = coalesce(:progress, progress),
    progress_event_at = CASE WHEN :progress_event THEN :now ELSE progress_event_at END,
    remote_state = coalesce(:remote_state, remote_state),
    remote_version = coalesce(:remote_version, remote_version),
    estimated_completion_seconds =
        coalesce(:estimated_seconds, estimated_completion_seconds),
    vars = coalesce(:vars, vars),
    version = version + 1,
    updated_at = :now
WHERE id = :id AND lease = :lease AND status = 'processing';

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
    accepted_at = CASE WHEN :accepted THEN :now ELSE accepted_at END,
    deadline_at = coalesce(:deadline_at, deadline_at),
    next_poll_at = :next_poll_at,
    last_poll_at = CASE WHEN :polled THEN :now ELSE last_poll_at END,
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
SELECT local_id FROM processing_jobs WHERE server_key = :server_key AND id <> :id;

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
    sent_at = NULL, claimed_by = NULL, lease_until = NULL
WHERE id = :id AND lease = :lease AND state = 'pending'
RETURNING local_id;

-- name: release_job
UPDATE processing_jobs SET claimed_by = NULL, lease_until = NULL
WHERE id = :id AND lease = :lease;

-- name: release_operation
UPDATE operations SET claimed_by = NULL, lease_until = NULL, sent_at = NULL
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
SELECT min(at) FROM (
    SELECT (
        SELECT next_attempt_at FROM operations
        WHERE state = 'pending' AND service = :service AND priority = p.value AND sent_at IS NULL
            AND (lease_until IS NULL OR lease_until <= :now)
        ORDER BY next_attempt_at LIMIT 1
    ) AS at
    FROM json_each('[0,1,2,3]') AS p
);

-- name: earliest_attempt_of
SELECT min(+next_attempt_at) FROM operations
WHERE local_id IN (SELECT value FROM json_each(:only))
    AND +state = 'pending' AND +service = :service AND sent_at IS NULL
    AND (lease_until IS NULL OR lease_until <= :now);

-- name: count_due
SELECT count(*) FROM processing_jobs
WHERE status = 'processing' AND service = :service AND next_poll_at <= :cutoff;

-- name: budget
SELECT next_call_at, paused_until, paused_why, pause_count, failing_jobs, fault
FROM budgets WHERE service = :service AND account = :account AND kind = '';

-- name: budgets
SELECT service, account, next_call_at, paused_until, paused_why, pause_count, failing_jobs, fault
FROM budgets WHERE kind = '' ORDER BY service, account;

-- name: take_tokens
INSERT INTO budgets (service, account, next_call_at) VALUES (:service, :account, :next_call_at)
ON CONFLICT (service, account, kind) DO UPDATE SET next_call_at = excluded.next_call_at;

-- name: pause_service
INSERT INTO budgets (
    service, account, paused_until, paused_why, pause_count, failing_jobs, fault
) VALUES (
    :service, :account, :paused_until, :why, :pause_count, :failing_jobs, :fault
)
ON CONFLICT (service, account, kind) DO UPDATE SET
    paused_until = excluded.paused_until, paused_why = excluded.paused_why,
    pause_count = excluded.pause_count, failing_jobs = excluded.failing_jobs,
    fault = excluded.fault;

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
deadline_at, estimated_completion_seconds, next_poll_at, last_poll_at, retry_count, poll_count,
last_http_status, last_duration_seconds, last_error, cancel_requested_at, traceparent, claimed_by,
lease_until, version

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
SELECT id, local_id, kind, service, account, state, priority, attempts, next_attempt_at,
    last_attempt_at, last_http_status, last_error, idempotency_key, claimed_by, lease_until, sent_at, created_at,
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
