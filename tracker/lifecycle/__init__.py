"""What changes. Pure: (job, what came back, rules) in, one outcome out; the store writes it.

The store adds its own now to every delay, and applies an outcome only under its fence.
"""

from tracker.lifecycle.jobs import after_poll, by_hand, document_of, finish, reopened
from tracker.lifecycle.listing import after_page, gone_on_with
from tracker.lifecycle.objects import (
    after_clean_up,
    after_removal,
    after_store,
    after_upload,
    owed_store,
    owed_upload,
)
from tracker.lifecycle.operations import (
    after_cancel,
    after_create,
    after_delete,
    after_fetch,
    after_notify,
    after_update,
)
from tracker.lifecycle.rules import Rules

__all__ = [
    "Rules",
    "after_cancel",
    "after_clean_up",
    "after_create",
    "after_delete",
    "after_fetch",
    "after_notify",
    "after_page",
    "after_poll",
    "after_removal",
    "after_store",
    "after_update",
    "after_upload",
    "by_hand",
    "document_of",
    "finish",
    "gone_on_with",
    "owed_store",
    "owed_upload",
    "reopened",
]
