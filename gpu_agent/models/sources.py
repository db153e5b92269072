"""Where model files come from: the network drive, the object store, and the addresses of the manifest."""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import urljoin, urlsplit, urlunsplit

import httpx

from gpu_agent.models.settings import KNOWN_TOKENS, Settings
from gpu_agent.models.signing import encoded, signed_get
from gpu_agent.models.stock import BadPlace, place
from gpu_agent.protocol.manifest import ManifestFile

TIMEOUT = httpx.Timeout(30.0, connect=10.0)
MAX_REDIRECTS = 5


class NotThere(LookupError):
    """This source does not have the file."""


class Gated(PermissionError):
    """The source wants a token, or its licence accepted; the text says what to do."""


class Unusable(Exception):
    """What the source says cannot be used, and asking again will not help."""


class Broken(Exception):
    """The transfer broke off, or the source is in trouble: go on later."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Bytes on their way. `start_bytes` is 0 when the source begins anew although more was asked for."""

    start_bytes: int
    total_bytes: int | None
    validator: str  # changes with the file; "" when the source names none
    chunks: Iterator[bytes]


class Source(Protocol):
    """`open(file, offset, validator, chunk_bytes)` yields a Transfer that goes on at `offset` if it can.

    Raises NotThere, Gated, Unusable, Broken.
    """

    @property
    def label(self) -> str: ...

    def open(
        self, file: ManifestFile, offset: int, validator: str, chunk_bytes: int
    ) -> AbstractContextManager[Transfer]: ...


class Share:
    """A mounted folder laid out as ComfyUI's models folder is."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.label = f"network drive {root}"

    @contextmanager
    def open(self, file: ManifestFile, offset: int, validator: str, chunk_bytes: int) -> Iterator[Transfer]:
        # Only what reading raises is this source's fault: the reader's own disk raises OSError, too.
        with ExitStack() as held:
            try:
                source = held.enter_context(place(self._root, file).open("rb"))
                at = os.fstat(source.fileno())
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError, BadPlace) as error:
                raise NotThere(str(error)) from error
            except OSError as error:
                raise Broken(error.strerror or type(error).__name__) from error
            stamp = f"{at.st_size}-{at.st_mtime_ns}"
            start = offset if offset <= at.st_size and validator in ("", stamp) else 0
            yield Transfer(start, at.st_size, stamp, _read(source, start, chunk_bytes))


class Store:
    """An S3 store (or any server): `base/folder/name`, anonymous, by the base's own signed query, or signed
    with keys."""

    def __init__(self, settings: Settings, http: httpx.Client) -> None:
        parts = urlsplit(settings.store_url)
        self._parts, self._settings, self._http = parts, settings, http
        self.label = f"object store {parts.hostname}"

    @contextmanager
    def open(self, file: ManifestFile, offset: int, validator: str, chunk_bytes: int) -> Iterator[Transfer]:
        path = f"{self._parts.path}/{encoded(file.path)}"
        url = urlunsplit((self._parts.scheme, self._parts.netloc, path, self._parts.query, ""))
        headers = _range(offset, validator)
        keys = self._settings.store_credentials
        if keys is not None:
            now = datetime.now(UTC)
            headers = signed_get(url, keys, region=self._settings.store_region, now=now, headers=headers)
        with _answer(self._http, url, headers) as response:
            if response.status_code in (401, 403):
                raise Unusable(
                    f"it refuses ({response.status_code}): look at MODELS_STORE_KEY_ID and "
                    "MODELS_STORE_SECRET, their rights, and this host's clock"
                )
            if response.is_redirect:
                raise Unusable("it redirects: is MODELS_STORE_URL the bucket's own address and region?")
            yield _transfer(response, offset)


class Web:
    """One address of the manifest. A token goes to the host it was given for, and to no other."""

    def __init__(self, url: str, settings: Settings, http: httpx.Client) -> None:
        self._url, self._settings, self._http = url, settings, http
        parts = urlsplit(url)
        self._host, self._netloc = parts.hostname or "", parts.netloc
        self.label = f"{self._host}{parts.path}"  # without the query: that may be a signature

    @contextmanager
    def open(self, file: ManifestFile, offset: int, validator: str, chunk_bytes: int) -> Iterator[Transfer]:
        if file.gated and self._host not in self._settings.tokens:
            raise Gated(self._how_to_open())
        url = self._url
        for _hop in range(MAX_REDIRECTS):
            with _answer(self._http, url, self._headers(url, offset, validator)) as response:
                if response.is_redirect:
                    url = urljoin(url, response.headers.get("location", ""))
                    continue
                if response.status_code in (401, 403):
                    raise Gated(self._how_to_open())
                yield _transfer(response, offset)
                return
        raise Unusable(f"more than {MAX_REDIRECTS} redirects")

    def _headers(self, url: str, offset: int, validator: str) -> dict[str, str]:
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and self._settings.plain_http):
            raise Unusable(
                f"{parts.scheme or 'no'} address: only https is taken (MODELS_PLAIN_HTTP=1 allows http)"
            )
        headers = _range(offset, validator)
        token = self._settings.tokens.get(parts.hostname or "")
        if token is not None and parts.netloc == self._netloc:
            headers["authorization"] = f"Bearer {token}"
        return headers

    def _how_to_open(self) -> str:
        name = KNOWN_TOKENS.get(self._host, f"MODELS_SOURCE_TOKENS={self._host}=…")
        if self._host in self._settings.tokens:
            return (
                f"{self._host} refuses this host's token: accept the model's licence there with its account"
            )
        return f"accept the licence at {self._host}, then give this host a token of that account in {name}"


def sources_of(file: ManifestFile, settings: Settings, http: httpx.Client) -> list[Source]:
    """In the order they are tried: network drive, object store, the file's own addresses."""
    found: list[Source] = []
    if settings.share_dir is not None:
        found.append(Share(settings.share_dir))
    if settings.store_url:
        found.append(Store(settings, http))
    return [*found, *(Web(url, settings, http) for url in file.sources)]


def _read(source: BinaryIO, start: int, chunk_bytes: int) -> Iterator[bytes]:
    try:
        source.seek(start)
        while chunk := source.read(chunk_bytes):
            yield chunk
    except OSError as error:
        raise Broken(error.strerror or type(error).__name__) from error


def client() -> httpx.Client:
    """Redirects are followed by hand, and no token comes out of a ~/.netrc."""
    return httpx.Client(timeout=TIMEOUT, trust_env=False, headers={"accept-encoding": "identity"})


@contextmanager
def _answer(http: httpx.Client, url: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
    try:
        with http.stream("GET", url, headers=dict(headers)) as response:
            yield response
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise Unusable("its address makes no sense") from error
    except httpx.HTTPError as error:
        # Not the error's text: it may carry the address, and that a signature.
        raise Broken(type(error).__name__) from error


def _range(offset: int, validator: str) -> dict[str, str]:
    if not offset:
        return {}
    return {"range": f"bytes={offset}-", **({"if-range": validator} if validator else {})}


def _transfer(response: httpx.Response, offset: int) -> Transfer:
    status, headers = response.status_code, response.headers
    if status in (404, 410):
        raise NotThere(f"it answers {status}")
    if status >= 500 or status in (408, 429):
        raise Broken(f"it answers {status}")
    if status == 416:
        # All of it is here already; or what is here is longer than the file: then from the start.
        whole = headers.get("content-range", "").rpartition("/")[2] == str(offset)
        return Transfer(offset if whole else 0, offset, "", iter(()))
    if status not in (200, 206):
        raise Unusable(f"it answers {status}")
    if headers.get("content-encoding", "identity") != "identity":
        raise Unusable("it sends the file compressed")
    if headers.get("content-type", "").startswith("text/html"):
        raise Unusable("it sends a web page instead of the file")
    etag = headers.get("etag", "")
    validator = "" if etag.startswith("W/") else etag
    length = headers.get("content-length", "")
    body = int(length) if length.isdecimal() else None
    start = _start(headers.get("content-range", ""), offset) if status == 206 else 0
    total = None if body is None else start + body
    return Transfer(start, total, validator, _chunks(response))


def _chunks(response: httpx.Response) -> Iterator[bytes]:
    try:
        yield from response.iter_raw()  # as they come: gathered ones would be lost when it breaks off
    except httpx.HTTPError as error:
        raise Broken(type(error).__name__) from error


def _start(content_range: str, offset: int) -> int:
    first = content_range.partition(" ")[2].partition("-")[0]
    if first != str(offset):
        raise Unusable(f"asked for byte {offset}, it sends from {first[:20] or 'nowhere'}")
    return offset
