-- What PostgreSQL says in other words than SQLite; schema/sqlite/queries.sql has all the rest.

-- name: job_columns
id, local_id, service, account, server_id, status, lease, next_poll_at, retry_count, progress,
remote_state, date_part('epoch', :now - coalesce(accepted_at, initiated_at)),
date_part('epoch', :now - unknown_since), estimated_completion_seconds,
date_part('epoch', :now - progress_event_at), job_type, user_id, session_id,
project, document_id, initiated_at, payload::text, vars::text, remote_version, expires_at

-- name: due_jobs

-- name: claimed_jobs

-- name: claim_jobs
-- A CTE of its own: as a subquery it could be run again for every row. By their place, since they are
-- locked and stay there: finding them by id once more would read as many pages again.
WITH due AS MATERIALIZED (
    SELECT ctid AS place FROM processing_jobs
    WHERE status = 'processing' AND service = :service AND next_poll_at <= :cutoff
        AND next_poll_at >= coalesce(:reached, '-infinity')
        AND (lease_until IS NULL OR lease_until <= :now)
    ORDER BY next_poll_at, initiated_at
    LIMIT :limit
    FOR UPDATE SKIP LOCKED
)
UPDATE processing_jobs
SET lease_until = :lease_until, claimed_by = :poller, lease = lease + 1
FROM due WHERE processing_jobs.ctid = place
RETURNING {job_columns};

-- name: claim_these_jobs
-- Of a column that is joined to '' there is no index: PostgreSQL would walk all that is due instead
-- of these few, or all that lives where it takes that for little.
WITH due AS MATERIALIZED (
    SELECT id AS due_id FROM processing_jobs
    WHERE local_id IN (SELECT value FROM json_each(:only))
        AND (status || '') = 'processing' AND (service || '') = :service
        AND next_poll_at <= :cutoff
        AND (lease_until IS NULL OR lease_until <= :now)
    ORDER BY next_poll_at, initiated_at
    LIMIT :limit
    FOR UPDATE SKIP LOCKED
)
UPDATE processing_jobs
SET lease_until = :lease_until, claimed_by = :poller, lease = lease + 1
FROM due WHERE id = due_id
RETURNING {job_columns};

-- name: claimable_condition
state = 'pending' AND service = :service AND {free_condition}

-- name: free_condition
next_attempt_at <= :now AND (attempts = 0 OR next_attempt_at <= :cutoff)
    AND kind IN (SELECT value FROM json_each(:kinds))
    AND sent_at IS NULL AND (lease_until IS NULL OR lease_until <= :now)

-- name: claim_operations
WITH due AS MATERIALIZED (
    SELECT ctid AS place FROM operations
    WHERE priority IN (0, 1, 2, 3) AND {claimable_condition}
    ORDER BY priority, next_attempt_at
    LIMIT :limit
    FOR UPDATE SKIP LOCKED
)
UPDATE operations
SET lease_until = :lease_until, claimed_by = :poller, lease = lease + 1,
    unaccounted = unaccounted + 1
FROM due WHERE operations.ctid = place
RETURNING {operation_columns};

-- name: claim_these_operations
WITH due AS MATERIALIZED (
    SELECT id AS due_id FROM operations
    WHERE local_id IN (SELECT value FROM json_each(:only))
        AND (state || '') = 'pending' AND (service || '') = :service AND {free_condition}
    ORDER BY priority, next_attempt_at
    LIMIT :limit
    FOR UPDATE SKIP LOCKED
)
UPDATE operations
SET lease_until = :lease_until, claimed_by = :poller, lease = lease + 1,
    unaccounted = unaccounted + 1
FROM due WHERE id = due_id
RETURNING {operation_columns};

-- name: claim_overdue_operations
WITH low AS MATERIALIZED (
    SELECT id AS due_id FROM operations
    WHERE priority = 3 AND next_attempt_at <= :overdue AND {claimable_condition}
    ORDER BY next_attempt_at LIMIT :share FOR UPDATE SKIP LOCKED
), normal AS MATERIALIZED (
    SELECT id AS due_id FROM operations
    WHERE priority = 2 AND next_attempt_at <= :overdue AND {claimable_condition}
    ORDER BY next_attempt_at LIMIT :share FOR UPDATE SKIP LOCKED
)
UPDATE operations
SET lease_until = :lease_until, claimed_by = :poller, lease = lease + 1,
    unaccounted = unaccounted + 1
FROM (SELECT due_id FROM low UNION ALL SELECT due_id FROM normal) AS due
WHERE id = due_id
RETURNING {operation_columns};

-- name: earliest_poll_of
SELECT min(next_poll_at) FROM processing_jobs
WHERE local_id IN (SELECT value FROM json_each(:only))
    AND (status || '') = 'processing' AND (service || '') = :service
    AND (lease_until IS NULL OR lease_until <= :now);

-- name: earliest_attempt_of
SELECT min(next_attempt_at) FROM operations
WHERE local_id IN (SELECT value FROM json_each(:only))
    AND (state || '') = 'pending' AND (service || '') = :service AND sent_at IS NULL
    AND (lease_until IS NULL OR lease_until <= :now)
    AND (:kinds IS NULL OR kind IN (SELECT value FROM json_each(:kinds)));

-- name: insert_event
WITH told AS (
    SELECT * FROM ROWS FROM (json_to_recordset(:rows) AS (
        now timestamptz, local_id text, user_id text, origin text, type text, data text
    )) WITH ORDINALITY AS one (now, local_id, user_id, origin, type, data, number)
), counted AS (
    UPDATE event_counter SET last = last + (SELECT count(*) FROM told) RETURNING last
)
INSERT INTO job_events (seq, at, local_id, user_id, origin, type, data)
SELECT counted.last - (SELECT count(*) FROM told) + number,
    now, local_id, user_id, origin, type, data::jsonb
FROM told, counted;

-- name: standing_claims
-- Locked: their events are written at the end of the transaction.
SELECT coalesce(jsonb_agg(jsonb_build_array(id, local_id, user_id)), '[]') FROM (
    SELECT j.id, j.local_id, j.user_id
    FROM jsonb_array_elements(:fences) AS f JOIN processing_jobs AS j ON j.id = (f->>0)::bigint
    WHERE j.lease = (f->>1)::bigint AND (j.status || '') = 'processing'
    ORDER BY j.id FOR UPDATE OF j
) AS standing;

-- name: settle_running
UPDATE processing_jobs AS j
SET {running_assignments}
FROM json_to_recordset(:rows) AS s (
    id bigint, lease bigint, due timestamptz, next_poll_at timestamptz, now timestamptz,
    retry_count integer, unknown boolean, http_status integer, duration float8, error text
)
WHERE j.id = s.id AND j.lease = s.lease AND (j.status || '') = 'processing';

-- name: settle_changed
UPDATE processing_jobs AS j
SET {running_assignments},
    {changed_assignments},
    {vars_assignments}
FROM json_to_recordset(:rows) AS s (
    id bigint, lease bigint, due timestamptz, next_poll_at timestamptz, now timestamptz,
    retry_count integer, unknown boolean, http_status integer, duration float8, error text,
    progress float8, progress_event boolean, remote_state text, remote_version text,
    estimated_seconds float8, vars text, expires_at timestamptz
)
WHERE j.id = s.id AND j.lease = s.lease AND (j.status || '') = 'processing';

-- name: vars_assignments
vars = coalesce(s.vars::jsonb, j.vars)

-- name: object_at
SELECT id, state FROM objects
WHERE scheme = :scheme AND bucket = :bucket AND key = :key
    AND (version_id = :version_id OR version_id IS NULL OR :version_id IS NULL)
ORDER BY version_id IS NOT DISTINCT FROM :version_id DESC, id DESC LIMIT 1;

-- name: reuse_object
UPDATE objects
SET owned = owned OR :owned, state = :state, version_id = coalesce(version_id, :version_id),
    size = coalesce(size, :size), etag = coalesce(etag, :etag), updated_at = :now
WHERE id = :id;

-- name: owned_objects_of
SELECT DISTINCT {object_columns},
    (SELECT count(DISTINCT u.local_id) FROM job_objects AS u WHERE u.object_id = o.id)
FROM job_objects AS jo JOIN objects AS o ON o.id = jo.object_id
WHERE o.owned AND jo.local_id = :local_id ORDER BY o.id;

-- name: request_removal_of_results
INSERT INTO objects (scheme, key, size, sha256, owned, state, created_at, updated_at)
SELECT 'file', path, size, sha256, true, 'removal_requested', :now, :now FROM contents
WHERE path IS NOT NULL AND local_id IN (SELECT value FROM json_each(:local_ids))
ON CONFLICT DO NOTHING
RETURNING id, scheme, size, key;

-- name: request_removal_of_objects
UPDATE objects SET state = 'removal_requested', updated_at = :now
WHERE id IN (SELECT value FROM json_each(:object_ids)) AND owned
    AND state <> 'removal_requested'
    AND NOT EXISTS (SELECT 1 FROM job_objects AS jo WHERE jo.object_id = objects.id)
RETURNING id, scheme, size;

-- name: forget_foreign_objects
DELETE FROM objects
WHERE id IN (SELECT value FROM json_each(:object_ids)) AND NOT owned
    AND NOT EXISTS (SELECT 1 FROM job_objects AS jo WHERE jo.object_id = objects.id);

-- name: hand_over_objects
DELETE FROM objects
WHERE id IN (SELECT value FROM json_each(:object_ids)) AND scheme = 's3' AND state = 'present'
    AND upload_id IS NULL
    AND NOT EXISTS (SELECT 1 FROM job_objects AS jo WHERE jo.object_id = objects.id);

-- name: kept_files_of
-- As a value, so that it is looked up: as a join PostgreSQL would walk all files that are on record.
SELECT c.path, c.size FROM contents AS c
WHERE c.local_id = :local_id AND c.path IS NOT NULL AND (
    SELECT 1 FROM objects AS o
    WHERE o.scheme = 'file' AND o.bucket = '' AND o.key = c.path LIMIT 1
) IS NULL;

-- name: still_cleanable
SELECT j.id, j.local_id, j.user_id, j.service, j.account, j.server_id, j.vars, j.payload
FROM jsonb_array_elements(:found) AS f JOIN processing_jobs AS j ON j.id = (f->>0)::bigint
WHERE j.status IN ('completed', 'failed', 'cancelled')
    AND j.completed_at = (f->>1)::timestamptz
    AND NOT EXISTS (SELECT 1 FROM operations AS o WHERE o.local_id = j.local_id);

-- name: shift_jobs
UPDATE processing_jobs
SET next_poll_at = next_poll_at + :shift, lease_until = lease_until + :shift
WHERE status = 'processing';

-- name: shift_operations
UPDATE operations
SET next_attempt_at = next_attempt_at + :shift, lease_until = lease_until + :shift
WHERE state = 'pending';

-- name: shift_budgets
UPDATE budgets SET next_call_at = next_call_at + :shift, paused_until = paused_until + :shift;

-- name: find_by_end
SELECT local_id FROM processing_jobs WHERE right(local_id, :length) = :ending LIMIT 3;

-- name: find_by_short_id
SELECT local_id FROM processing_jobs
WHERE right(local_id, 8) = right(:ending, 8) AND right(local_id, :length) = :ending LIMIT 3;

-- name: ends_since
SELECT count(*), count(*) FILTER (
    WHERE status IN ('completed', 'cancelled')
        OR failure_reason IN (SELECT value FROM json_each(:right))
)
FROM processing_jobs
WHERE status IN ('completed', 'failed', 'cancelled') AND completed_at >= :day;

-- name: database_bytes
SELECT pg_database_size(current_database());

-- name: hurry_operation
UPDATE operations SET next_attempt_at = least(next_attempt_at, :now) WHERE id = :id;

-- name: hurry_listing
UPDATE services SET next_refresh_at = least(next_refresh_at, :now)
WHERE service = :service AND account = :account AND next_refresh_at IS NOT NULL;

-- name: staged_changes
SELECT j.id, j.local_id, j.user_id, j.status, j.remote_state, j.remote_version, j.payload,
    j.last_synced,
    EXISTS (
        SELECT 1 FROM operations AS o
        WHERE o.local_id = j.local_id AND o.kind IN ('update', 'delete')
    ),
    coalesce(j.synced_at >= :began, false), l.word, l.version, l.updated_at, l.fields
FROM listed AS l JOIN processing_jobs AS j ON j.server_key = l.server_key
WHERE l.operation_id = :operation_id AND l.server_key <= :last AND (
    (l.word IS NOT NULL AND l.word IS DISTINCT FROM j.remote_state AND (
        j.status = 'processing' OR j.remote_state IS NOT NULL
    ))
    OR (l.version IS NOT NULL AND l.version IS DISTINCT FROM j.remote_version)
    OR EXISTS (
        SELECT 1 FROM jsonb_each(l.fields) AS there
        WHERE there.value IS DISTINCT FROM (j.last_synced -> there.key)
    )
);

-- name: glance
-- All that tracker/glance.py asks of a file, as one row: the configuration that was found right, and
-- whether nothing is due and nobody at work. Without parameters: it is sent with its transaction.
WITH RECURSIVE polled (service) AS (
    SELECT min(service) FROM processing_jobs WHERE status = 'processing'
    UNION ALL
    SELECT (
        SELECT min(service) FROM processing_jobs
        WHERE status = 'processing' AND service > polled.service
    )
    FROM polled WHERE polled.service IS NOT NULL
), called (service) AS (
    SELECT min(service) FROM operations WHERE state = 'pending'
    UNION ALL
    SELECT (
        SELECT min(service) FROM operations
        WHERE state = 'pending' AND service > called.service
    )
    FROM called WHERE called.service IS NOT NULL
)
SELECT
    (SELECT value FROM meta WHERE key = 'checked'),
    NOT EXISTS (SELECT 1 FROM pollers)
    AND NOT EXISTS (
        SELECT 1 FROM meta
        WHERE key = 'last_now' AND value <> '' AND value::timestamptz > now()
            OR key = 'next_cleanup_at' AND value <> '' AND value::timestamptz <= now()
    )
    AND NOT EXISTS (SELECT 1 FROM services WHERE next_refresh_at <= now())
    AND NOT EXISTS (
        SELECT 1 FROM operations
        WHERE state = 'pending' AND sent_at IS NOT NULL AND lease_until <= now()
    )
    AND NOT EXISTS (
        SELECT 1 FROM polled CROSS JOIN LATERAL (
            SELECT j.next_poll_at FROM processing_jobs AS j
            WHERE j.status = 'processing' AND j.service = polled.service
                AND (j.lease_until IS NULL OR j.lease_until <= now())
            ORDER BY j.next_poll_at LIMIT 1
        ) AS first
        WHERE first.next_poll_at <= now()
    )
    AND NOT EXISTS (
        SELECT 1 FROM called CROSS JOIN (VALUES (0), (1), (2), (3)) AS p (value)
        CROSS JOIN LATERAL (
            SELECT o.next_attempt_at FROM operations AS o
            WHERE o.state = 'pending' AND o.service = called.service AND o.priority = p.value
                AND o.sent_at IS NULL AND (o.lease_until IS NULL OR o.lease_until <= now())
            ORDER BY o.next_attempt_at LIMIT 1
        ) AS first
        WHERE first.next_attempt_at <= now()
    );
