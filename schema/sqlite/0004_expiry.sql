-- Until when a service keeps a job, or its result.
ALTER TABLE processing_jobs ADD COLUMN expires_at TEXT;

CREATE INDEX processing_jobs_expiring ON processing_jobs (expires_at)
    WHERE status IN ('processing', 'retrieving') AND expires_at IS NOT NULL;
