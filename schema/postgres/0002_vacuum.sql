-- What pollers have settled leaves dead entries at the front of the due index, and claims step over
-- all of them. Without this VACUUM leaves indexes alone while fewer than 2 % of a table's pages have
-- dead rows, which is always where nearly all rows are history.
ALTER TABLE processing_jobs
    SET (autovacuum_vacuum_scale_factor = 0.01, vacuum_index_cleanup = on);
