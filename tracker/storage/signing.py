"""Presigned URLs that stay the same while they are good."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from tracker import clock
from tracker.errors import CallFailed
from tracker.storage.definition import Storage

if TYPE_CHECKING:
    from tracker.transports.aws import Clients


class Signer:
    """Signs URLs to objects, with the ordinary AWS credentials; safe to share between threads.

    A URL is signed as of the beginning of its window, half as long as it is good: a create that is
    sent again within it has the very same body, which is what idempotency keys ask for; later it
    is signed anew. No URL is written anywhere.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._lock = threading.Lock()
        self._clients: Clients | None = None

    def url(self, bucket: str, key: str, version_id: str | None = None) -> str:
        """A URL that anybody can read the object by, good for at least half of ``presign``.

        Raises CallFailed when it cannot be signed: there are no credentials, or AWS's own
        configuration is broken.
        """
        from botocore.exceptions import BotoCoreError

        try:
            return self._url(bucket, key, version_id)
        except BotoCoreError as error:
            raise CallFailed(f"s3://{bucket}: no URL can be signed: {error}") from None

    def _url(self, bucket: str, key: str, version_id: str | None) -> str:
        from botocore.auth import S3SigV4QueryAuth
        from botocore.awsrequest import AWSRequest

        clients = self._open()
        # Not the global host, for which a signature of the region is no good.
        endpoint = self._storage.endpoint(bucket)
        client = clients.s3(replace(endpoint, virtual="." not in bucket), signed=False)
        wanted = {"Bucket": bucket, "Key": key}
        if version_id is not None:
            wanted["VersionId"] = version_id
        plain = client.generate_presigned_url("get_object", Params=wanted)
        credentials = clients.session.get_credentials()
        if credentials is None:
            raise CallFailed("there are no AWS credentials to sign a URL with")
        lives = int(self._storage.config.presign)
        began = _window(clock.now(), max(lives / 2, 1.0))

        class AsOf(S3SigV4QueryAuth):
            """Signs as of the beginning of the window."""

            def _modify_request_before_signing(self, request: AWSRequest) -> None:
                request.context["timestamp"] = began
                super()._modify_request_before_signing(request)  # type: ignore[misc]

        request = AWSRequest(method="GET", url=plain)
        frozen = credentials.get_frozen_credentials()
        AsOf(frozen, "s3", client.meta.region_name, expires=lives).add_auth(request)
        return str(request.url)

    def _open(self) -> Clients:
        with self._lock:
            if self._clients is None:
                from tracker.transports.aws import Clients

                self._clients = Clients(1)
            return self._clients


def _window(now: float, length: float) -> str:
    start = clock.to_text(now - now % length)
    return start[:19].replace("-", "").replace(":", "") + "Z"
