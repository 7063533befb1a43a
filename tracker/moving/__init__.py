"""A whole ledger as JSON lines, out of one database and into another.

The first line says what follows, the last one has counts and checksums, and between them each line
is a row::

    {"tracker_export":1,"schema":"0004_expiry",...,"rows":{"processing_jobs":2,...}}
    {"table":"processing_jobs","row":{"id":1,"local_id":"...",...}}
    {"end":true,"header":"<sha256>","rows":{...},"sha256":{"processing_jobs":"<sha256>",...}}

Rows are in the order of their keys; a column that is not named is NULL. Values are in one form,
whichever database they come from: so the same ledger is the same lines.
"""
