"""S3 as this tracker uses it: where objects go, what is asked for them, what the answers mean.

`Storage` is plain values; the calls it builds are made by `tracker.transports.s3`.
"""

from tracker.storage.definition import Storage

__all__ = ["Storage"]
