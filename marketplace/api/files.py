"""Files over plain ASGI, with HEAD and Range: those of signed links, and the site's own.

Django would read each whole into memory.
"""

from functools import lru_cache
from pathlib import Path
from urllib.parse import parse_qs

import anyio.to_thread
from django.conf import settings
from django.contrib.staticfiles import finders
from starlette.responses import FileResponse, Response

from jobs import artifacts
from marketplace.api import callers
from marketplace.api.answers import Receive, Scope, Send, refusal

# Nothing in such a file may run, frame or fetch, whatever its bytes pretend to be.
FILE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
STATIC_SECONDS = 3600


async def serve_link(scope: Scope, receive: Receive, send: Send) -> None:
    """GET or HEAD /files/<sha256>?key=: the file a signed link names."""
    path = scope["path"]
    if scope["method"] not in ("GET", "HEAD"):
        await refusal(path, 405, "method_not_allowed", "Files are only read.")(scope, receive, send)
        return
    sha256 = path.removeprefix("/files/")
    key = parse_qs(scope["query_string"].decode("latin-1")).get("key", [""])[0]
    try:
        link = artifacts.read_link(sha256, key)
    except artifacts.BadLink as error:
        await refusal(path, 403, "bad_link", f"Open the file from its page again: {error}.")(
            scope, receive, send
        )
        return
    stored = await anyio.to_thread.run_sync(artifacts.open_path, sha256)
    if stored is None:
        await refusal(path, 404, "not_found", "This file is no longer kept.")(scope, receive, send)
        return
    shown = link.media_type in artifacts.SHOWN_MEDIA_TYPES
    headers = {
        **FILE_HEADERS,
        "Content-Disposition": artifacts.content_disposition(link.name, shown=shown and not link.download),
        "Cache-Control": f"private, max-age={settings.ARTIFACT_LINK_SECONDS}, immutable",
    }
    media_type = link.media_type if shown else "application/octet-stream"
    await _send_file(stored, sha256, media_type, headers, scope, receive, send)


async def serve_stored(path: Path, sha256: str, scope: Scope, receive: Receive, send: Send) -> None:
    """A stored file to a caller whose right to it was checked."""
    await _send_file(path, sha256, "application/octet-stream", FILE_HEADERS, scope, receive, send)


async def serve_static(scope: Scope, receive: Receive, send: Send) -> None:
    """GET or HEAD /static/…: style sheets, scripts and fonts of the site and its packages."""
    name = scope["path"].removeprefix("/static/")
    found = await anyio.to_thread.run_sync(_static_file, name)
    if found is None or scope["method"] not in ("GET", "HEAD"):
        await refusal(scope["path"], 404, "not_found", "There is no such file.")(scope, receive, send)
        return
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": f"public, max-age={STATIC_SECONDS}"}
    if settings.DEBUG:
        headers["Cache-Control"] = "no-cache"
    await FileResponse(found, headers=headers)(scope, receive, send)


async def _send_file(
    path: Path,
    sha256: str,
    media_type: str,
    headers: dict[str, str],
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    etag = f'"{sha256}"'
    headers = {**headers, "ETag": etag}
    if etag in callers.header(scope, b"if-none-match"):
        await Response(status_code=304, headers=headers)(scope, receive, send)
        return
    await FileResponse(path, headers=headers, media_type=media_type)(scope, receive, send)


@lru_cache(maxsize=1024)
def _static_file(name: str) -> Path | None:
    if not name or "\0" in name or ".." in name.split("/"):
        return None
    collected = Path(settings.STATIC_ROOT) / name
    if collected.is_file():
        return collected
    found = finders.find(name)
    return Path(found) if isinstance(found, str) and Path(found).is_file() else None
