"""What changes. Pure: (job, what came back, rules) in, one outcome out; the store writes it.

The store adds its own now to every delay, and applies an outcome only under its fence.
"""

from tracker.lifecycle.endings import document_of, finish
from tracker.lifecycle.jobs import after_poll, by_hand, reopened
from tracker.lifecycle.listing import Trail, after_page, gone_on_with
from tracker.lifecycle.objects import (
    after_clean_up,
    after_removal,
    after_store,
    after_upload,
    owed_store,
    owed_upload,
)
from tracker.lifecycle.operations import (
    accepted_first,
    after_cancel,
    after_create,
    after_delete,
    after_fetch,
    after_notify,
    after_then,
    after_update,
    cancelled,
    next_step,
)
from tracker.lifecycle.rules import Rules

__all__ = [
    "Rules",
    "Trail",
    "accepted_first",
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
    "after_then",
    "after_update",
    "after_upload",
    "by_hand",
    "cancelled",
    "document_of",
    "finish",
    "gone_on_with",
    "next_step",
    "owed_store",
    "owed_upload",
    "reopened",
]
