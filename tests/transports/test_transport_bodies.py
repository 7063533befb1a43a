"""What every transport for HTTP promises: uploads, sinks and limits."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from pathlib import Path

import pytest
from asking import Ask, echoed
from misbehaving import Misbehaving

from tracker.model import Fault

# Uploads


def test_a_file_is_sent_as_the_body(ask: Ask, tmp_path: Path) -> None:
    """A raw upload has the file's length and bytes, and a type unless the definition has one."""
    file = tmp_path / "in.bin"
    file.write_bytes(bytes(range(256)) * 1000)
    seen = echoed(ask("/echo", "PUT", file=file))
    assert seen["body"].encode("latin-1") == file.read_bytes()
    assert seen["headers"]["content-length"] == "256000"
    assert seen["headers"]["content-type"] == "application/octet-stream"
    assert "transfer-encoding" not in seen["headers"]
    typed = echoed(ask("/echo", "PUT", file=file, headers={"content-type": "image/png"}))
    assert typed["headers"]["content-type"] == "image/png"


def test_a_form_with_a_file_is_multipart(ask: Ask, tmp_path: Path) -> None:
    """Fields and file arrive as a browser would send them; quotes in names break nothing."""
    file = tmp_path / "in.txt"
    file.write_bytes(b"line\r\n--not-a-boundary\r\n")
    form = {"lang": "dé", 'a"b\r\nc': "x"}
    options = {"form": form, "file": file, "file_field": "doc", "file_name": 'my "x".txt'}
    seen = echoed(ask("/echo", "POST", headers={"Content-Type": "text/plain"}, **options))
    kind, _, boundary = seen["headers"]["content-type"].partition("; boundary=")
    assert kind == "multipart/form-data"
    parts = seen["body"].encode("latin-1").split(f"--{boundary}".encode())
    assert parts[0] == b"" and parts[-1] == b"--\r\n"
    assert parts[1] == '\r\nContent-Disposition: form-data; name="lang"\r\n\r\ndé\r\n'.encode()
    assert parts[2].startswith(b'\r\nContent-Disposition: form-data; name="a%22b%0D%0Ac"\r\n')
    assert parts[3] == (
        b'\r\nContent-Disposition: form-data; name="doc"; filename="my %22x%22.txt"\r\n'
        b"Content-Type: text/plain\r\n\r\n" + file.read_bytes() + b"\r\n"
    )
    assert seen["headers"]["content-length"] == str(len(seen["body"]))


def test_a_form_alone_is_urlencoded(ask: Ask) -> None:
    """Token endpoints and old APIs want what an HTML form sends."""
    seen = echoed(ask("/echo", "POST", form={"a": "1 2", "b": "&"}))
    assert seen["body"] == "a=1+2&b=%26"
    assert seen["headers"]["content-type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize("kind", ["missing", "folder", "fifo"])
def test_an_unreadable_file_is_an_invalid_call(
    ask: Ask, server: Misbehaving, tmp_path: Path, kind: str
) -> None:
    """What cannot be read is not sent, and a FIFO hangs nobody."""
    file = tmp_path / "it"
    if kind == "folder":
        file.mkdir()
    elif kind == "fifo":
        os.mkfifo(file)
    reply = ask("/echo", "POST", file=file)
    assert (reply.fault, reply.sent) == (Fault.INVALID, False)
    assert "it" in reply.message
    assert server.requests == []


# Sinks


def test_a_sink_takes_the_body_of_a_success(ask: Ask, tmp_path: Path) -> None:
    """The file holds the decoded body, for its owner only; the reply describes it."""
    sink = tmp_path / "out"
    sink.write_bytes(b"an older and longer partial file" * 99)
    sink.chmod(0o644)
    reply = ask("/gzip", sink=sink)
    body = b"packed" * 99
    assert sink.read_bytes() == body
    assert sink.stat().st_mode & 0o777 == 0o600
    assert (reply.fault, reply.status, reply.body) == (None, 200, b"")
    assert (reply.path, reply.size) == (sink, len(body))
    assert reply.sha256 == hashlib.sha256(body).hexdigest()


def test_a_sink_does_not_write_through_a_link(ask: Ask, tmp_path: Path) -> None:
    """A link in the place of the sink is replaced, and what it leads to stays as it is."""
    (tmp_path / "precious").write_bytes(b"keep")
    (tmp_path / "out").symlink_to(tmp_path / "precious")
    assert ask("/ok", sink=tmp_path / "out").fault is None
    assert (tmp_path / "precious").read_bytes() == b"keep"
    assert not (tmp_path / "out").is_symlink()


def test_a_sink_is_not_for_errors(ask: Ask, tmp_path: Path) -> None:
    """An error page never passes for a result."""
    reply = ask("/status/404", sink=tmp_path / "out")
    assert (reply.status, reply.body, reply.path) == (404, b"words", None)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("path", ["/short", "/reset-body", "/bad-gzip", "/cut-gzip", "/big"])
def test_a_sink_leaves_no_partial_file(ask: Ask, tmp_path: Path, path: str) -> None:
    """A file that is there is a file that is complete."""
    reply = ask(path, sink=tmp_path / "out", max_bytes=10**5)
    assert reply.fault is not None
    assert (reply.path, reply.size, reply.sha256) == (None, 0, "")
    assert list(tmp_path.iterdir()) == []


def test_a_sink_that_cannot_be_written_is_not_the_service_s_fault(ask: Ask, tmp_path: Path) -> None:
    """The call was sent and answered; what failed is here."""
    reply = ask("/ok", sink=tmp_path / "no" / "such" / "folder")
    assert (reply.fault, reply.sent, reply.status) == (Fault.INVALID, True, 200)
    assert "no such file" in reply.message


# Limits


@pytest.mark.parametrize("path", ["/never", "/drip-body", "/drip-head"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_timeout_is_the_whole_call_s(ask: Ask, path: str, method: str) -> None:
    """A server that keeps sending a little is cut off as one that sends nothing."""
    started = time.monotonic()
    reply = ask(path, method, timeout=0.4)
    assert (reply.fault, reply.sent) == (Fault.TIMEOUT, True)
    assert 0.4 <= time.monotonic() - started < 1.5
    assert 0.4 <= reply.elapsed < 1.5


def test_what_came_before_a_fault_is_kept(ask: Ask) -> None:
    """A create whose body never ends has still told where the job is."""
    reply = ask("/drip-body", "POST", timeout=0.3)
    assert (reply.fault, reply.status) == (Fault.TIMEOUT, 201)
    assert reply.headers["location"] == "/made"


def test_an_upload_that_nobody_reads_ends_in_time(
    ask: Ask, tmp_path: Path, server: Misbehaving
) -> None:
    """The timeout covers sending as well."""
    file = tmp_path / "large"
    with file.open("wb") as out:
        out.truncate(64 * 2**20)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        reply = ask(url, "PUT", file=file, timeout=0.4)
    assert (reply.fault, reply.sent) == (Fault.TIMEOUT, True)
    assert reply.elapsed < 1.5


@pytest.mark.parametrize("path", ["/endless", "/bomb", "/big"])
def test_an_oversized_body_is_cut(ask: Ask, path: str) -> None:
    """Memory is safe from endless, packed and merely large bodies."""
    reply = ask(path, max_bytes=10**5)
    assert (reply.fault, reply.sent, reply.body) == (Fault.OVERSIZED, True, b"")
    assert "100000" in reply.message


def test_a_body_of_exactly_the_limit_passes(ask: Ask) -> None:
    """The limit is the last size that is allowed."""
    assert len(ask("/big", max_bytes=10**6).body) == 10**6
    assert ask("/big", max_bytes=10**6 - 1).fault is Fault.OVERSIZED
    assert len(ask("/gzip", max_bytes=6 * 99).body) == 6 * 99
    assert ask("/gzip", max_bytes=6 * 99 - 1).fault is Fault.OVERSIZED


@pytest.mark.parametrize("path", ["/bad-gzip", "/cut-gzip", "/brotli"])
def test_what_cannot_be_unpacked_is_unreadable(ask: Ask, path: str) -> None:
    """Damaged, cut and unknown compressions do not pass for content."""
    reply = ask(path)
    assert (reply.fault, reply.sent, reply.status) == (Fault.UNREADABLE, True, 200)


def test_an_upload_that_is_read_slowly_ends_in_time(ask: Ask, tmp_path: Path) -> None:
    """A server that takes a little now and then does not stretch the timeout."""
    file = tmp_path / "large"
    with file.open("wb") as out:
        out.truncate(64 * 2**20)
    reply = ask("/sip", "PUT", file=file, timeout=0.5)
    assert (reply.fault, reply.sent) == (Fault.TIMEOUT, True)
    assert reply.elapsed < 1.5


def test_the_limit_is_for_what_is_unpacked(ask: Ask) -> None:
    """A small body may be larger packed than unpacked."""
    assert ask("/deflate", max_bytes=4).body == b"zlib"
