"""A server of files over HTTP with ranges, which breaks off, lies and asks for tokens when told to."""

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from gpu_agent.models.signing import Credentials, signed_get

PIECE_BYTES = 16 * 1024


@dataclass
class FileServer:
    """`files` by path. Each number in `break_after` ends one answer after so many bytes."""

    files: dict[str, bytes] = field(default_factory=dict)
    break_after: list[int] = field(default_factory=list)
    token: str = ""  # Bearer token every file wants
    keys: Credentials | None = None  # S3 keys every request must be signed with
    region: str = "us-east-1"
    redirect_to: str = ""  # another server's address: everything is there
    ranges: bool = True
    statuses: list[int] = field(default_factory=list)  # of the next answers, in place of the file
    content_type: str = "application/octet-stream"
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    def etag(self, path: str) -> str:
        return f'"{hashlib.sha256(self.files[path]).hexdigest()[:16]}"'


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    files: FileServer

    def do_GET(self) -> None:
        desk, path = self.files, unquote(urlsplit(self.path).path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        desk.asked.append((self.path, headers))
        if desk.redirect_to:
            self._say(302, {"location": f"{desk.redirect_to}{self.path}"})
        elif desk.statuses:
            self._say(desk.statuses.pop(0), {})
        elif desk.token and headers.get("authorization") != f"Bearer {desk.token}":
            self._say(401, {})
        elif desk.keys and not self._signed(desk.keys, headers):
            self._say(403, {})
        elif path not in desk.files:
            self._say(404, {})
        else:
            self._send(desk.files[path], path, headers)

    def _send(self, body: bytes, path: str, headers: dict[str, str]) -> None:
        etag = self.files.etag(path)
        start, status, said = 0, 200, {"etag": etag, "content-type": self.files.content_type}
        if self.files.ranges and "range" in headers and headers.get("if-range", etag) == etag:
            start = int(headers["range"].removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self._say(416, {"content-range": f"bytes */{len(body)}"})
                return
            status = 206
            said["content-range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self.send_response(status)
        for name, value in {**said, "content-length": str(len(body) - start)}.items():
            self.send_header(name, value)
        self.end_headers()
        end = start + self.files.break_after.pop(0) if self.files.break_after else len(body)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the asker may leave
            for at in range(start, min(end, len(body)), PIECE_BYTES):
                self.wfile.write(body[at : min(at + PIECE_BYTES, end)])
        self.close_connection = end < len(body)

    def _signed(self, keys: Credentials, headers: dict[str, str]) -> bool:
        """Whether the same request, signed with our keys, has the same signature."""
        proof = headers.get("authorization", "")
        names = proof.partition("SignedHeaders=")[2].partition(",")[0].split(";")
        ours = {name: headers[name] for name in names if name in headers and not name.startswith("x-amz-")}
        if "x-amz-date" not in headers:
            return False
        now = datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        url = f"http://{headers['host']}{self.path}"
        expected = signed_get(url, keys, region=self.files.region, now=now, headers=ours)
        return expected["authorization"] == proof

    def _say(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "content-length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Tests read `asked`."""


@contextlib.contextmanager
def serving(**settings: object) -> Iterator[FileServer]:
    """A server on a free port of the loopback address."""
    desk = FileServer(**settings)  # type: ignore[arg-type]
    handler = type("Handler", (_Handler,), {"files": desk})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    desk.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield desk
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
