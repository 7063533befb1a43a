"""The keys of each ``--json`` document: other people's programs read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

JOB = """
local_id service status server_id account job_type user_id session_id project document_id
sync_status failure_reason error_message result_content_id progress remote_state remote_version
payload vars initiated_at created_at updated_at accepted_at completed_at deadline_at
expires_at unknown_since
estimated_completion_seconds next_poll_at last_poll_at retry_count poll_count last_http_status
last_duration_seconds last_error cancel_requested_at traceparent claimed_by lease_until version
"""
SUMMARY = """
polled submitted retrieved notified uploaded cleaned_up completed failed cancelled errors void
objects_removed objects_already_gone objects_failed object_bytes_freed
files_removed files_already_gone files_failed file_bytes_freed
duration_seconds stopped paused stepped_back_for refreshed
"""
EVENT = "seq at local_id user_id origin type data"
OPERATION = """
id local_id kind service account state priority attempts next_attempt_at last_attempt_at
last_http_status last_error idempotency_key claimed_by lease_until sent_at created_at object_id
unaccounted
"""
OWED = """
id local_id kind service state priority attempts next_attempt_at last_attempt_at last_http_status
last_error claimed_by created_at object
"""
CONTENT = "id role media_type size sha256 partial path object_id created_at"
OBJECT = """
id role scheme bucket key version_id upload_id size etag sha256 name media_type owned state
created_at updated_at
"""
RECEIPT = """
rows_deleted objects files services_asked archived dry_run stopped bytes_freed
"""
REMOVALS = "requested removed already_gone failed owed bytes_freed"
PREVIEW = "jobs places"
PREVIEW_JOB = "local_id service status completed_at"
PREVIEW_PLACE = "place version_id size"


def has_keys(document: Mapping[str, Any], *texts: str) -> bool:
    """Whether a document has exactly the keys in these texts."""
    return sorted(document) == sorted(word for text in texts for word in text.split())
