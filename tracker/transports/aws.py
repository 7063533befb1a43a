"""boto3, made ready: clients that are kept, and its errors sorted as the failure table wants them.

Imported when the first call goes out: boto3 takes 0.2 s and 25 MB.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import boto3
from botocore import exceptions
from botocore.config import Config
from botocore.parsers import ResponseParserError

from tracker import __version__
from tracker.model import Fault
from tracker.transports.base import Reply
from tracker.transports.tasks import Endpoint

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECT_SECONDS = 3.0
ATTEMPTS = 3
"""How often boto3 tries by itself, its standard mode's delays between them."""

LONGEST_MESSAGE = 300

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
UNAUTHORISED = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidToken",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
    }
)
THROTTLED = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
_NO_CREDENTIALS = (
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.CredentialRetrievalError,
    exceptions.ProfileNotFound,
    exceptions.InvalidConfigError,
    exceptions.ConfigParseError,
    exceptions.TokenRetrievalError,
    exceptions.UnauthorizedSSOTokenError,
    exceptions.SSOTokenLoadError,
    exceptions.NoRegionError,
)
_UNREACHABLE = (
    exceptions.EndpointConnectionError,
    exceptions.ConnectTimeoutError,
    exceptions.ProxyConnectionError,
    exceptions.SSLError,
)


class Clients:
    """One session with AWS's ordinary credential chain, and a client for each endpoint.

    Safe to share between threads.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._lock = threading.Lock()
        self._session: boto3.Session | None = None
        self._made: dict[tuple[Endpoint, bool], S3Client] = {}
        self._others: dict[tuple[str, Endpoint], Any] = {}

    @property
    def session(self) -> boto3.Session:
        """The session. Raises what botocore raises for a broken AWS configuration."""
        with self._lock:
            return self._open()

    def s3(self, endpoint: Endpoint, *, signed: bool = True) -> S3Client:
        """The client for `endpoint`."""
        with self._lock:
            client = self._made.get((endpoint, signed))
            if client is None:
                client = self._made[endpoint, signed] = self._make(endpoint, signed)
            return client

    def any(self, name: str, endpoint: Endpoint) -> Any:
        """The client of any service, by boto3's name. It makes each call once: who repeats them
        knows which may be."""
        with self._lock:
            client = self._others.get((name, endpoint))
            if client is None:
                client = self._open().client(  # type: ignore[call-overload]
                    name,
                    endpoint_url=endpoint.url,
                    region_name=endpoint.region,
                    config=self._config(endpoint, retries={"total_max_attempts": 1}),
                )
                self._others[name, endpoint] = client
            return client

    def forget(self) -> None:
        """Begin anew with whatever credentials there are by now: a client keeps those, or the lack
        of them, that it was made with."""
        self.close()
        with self._lock:
            self._session = None

    def close(self) -> None:
        """Drop all connections."""
        with self._lock:
            for client in (*self._made.values(), *self._others.values()):
                client.close()
            self._made.clear()
            self._others.clear()

    def _open(self) -> boto3.Session:
        if self._session is None:
            self._session = boto3.Session()
        return self._session

    def _make(self, endpoint: Endpoint, signed: bool) -> S3Client:
        from botocore import UNSIGNED

        settings: dict[str, Any] = {} if signed else {"signature_version": UNSIGNED}
        if endpoint.region is None and self._open().region_name is None:
            settings["region_name"] = "us-east-1"  # boto3 has no default; S3 redirects from here
        return self._open().client(
            "s3",
            endpoint_url=endpoint.url,
            region_name=endpoint.region,
            config=self._config(
                endpoint,
                retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                s3={"addressing_style": endpoint.addressing},
                # Checksums that were not asked for are what many other S3 servers stumble over.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                **settings,
            ),
        )

    def _config(self, endpoint: Endpoint, **settings: Any) -> Config:
        return Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=endpoint.timeout,
            max_pool_connections=max(self._threads, 1),
            user_agent_extra=f"tracker/{__version__}",
            **settings,
        )


def code_of(error: exceptions.ClientError) -> tuple[str, int]:
    """S3's error code and the HTTP code that it came with."""
    found = error.response.get("Error", {}).get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return str(found), int(status)


def said_by(error: exceptions.ClientError) -> str:
    """S3's own code and message, in one line."""
    told = error.response.get("Error", {})
    return line(f"{told.get('Code', '')}: {told.get('Message', '')}".strip(": "))


def line(text: str) -> str:
    """`text` as one printable line."""
    shown = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return shown if len(shown) <= LONGEST_MESSAGE else shown[: LONGEST_MESSAGE - 1] + "…"


def reply_to(error: Exception, about: str) -> Reply:
    """The reply that an error of boto3 amounts to; `about` is what the call was for."""
    if isinstance(error, exceptions.ClientError):
        code, status = code_of(error)
        return Reply(status, fault=fault_of(code, status), message=f"{about}: {said_by(error)}")
    fault, sent = Fault.INVALID, False
    if isinstance(error, _NO_CREDENTIALS):
        fault = Fault.SIGNED_OUT
    elif isinstance(error, _UNREACHABLE):
        fault = Fault.UNREACHABLE
    elif isinstance(error, exceptions.ReadTimeoutError):
        fault, sent = Fault.TIMEOUT, True
    elif isinstance(error, (exceptions.HTTPClientError, exceptions.IncompleteReadError)):
        fault, sent = Fault.RESET, True
    elif isinstance(error, (ResponseParserError, KeyError)):
        return Reply(fault=Fault.UNREADABLE, message=f"{about}: the reply makes no sense")
    elif isinstance(error, exceptions.BotoCoreError):
        pass
    elif isinstance(error, OSError):
        return Reply(fault=fault, sent=False, message=f"{about}: {error.strerror or error}")
    else:
        raise error
    return Reply(fault=fault, sent=sent, message=line(f"{about}: {error}"))


def fault_of(code: str, status: int) -> Fault:
    """Whose problem an error code is."""
    if code in UNAUTHORISED or status == 401:
        return Fault.UNAUTHORISED
    if code == "RequestTimeout":
        return Fault.SERVER  # a 400 that means: try again
    if code in THROTTLED or status == 429:
        return Fault.THROTTLED
    if status in (408, 425) or status >= 500:
        return Fault.SERVER
    return Fault.REDIRECT if 300 <= status < 400 else Fault.REFUSED


def whose() -> dict[str, Any]:
    """Whether AWS's own chain finds credentials, and where: see `tracker.Tracker.signed_in`."""
    told: dict[str, Any] = {"from": [], "expires_in": None}
    try:
        found = boto3.Session().get_credentials()
    except exceptions.BotoCoreError as error:
        return told | {"credentials": line(f"no credentials: {error}")}
    if found is None:
        return told | {"credentials": "no credentials: AWS's chain finds none"}
    return told | {"credentials": "ok", "from": [f"aws:{found.method}"]}
