"""What is said to the site about model files: fetch the manifest, tell how far they are."""

import logging
import threading
from collections.abc import Callable
from dataclasses import replace

import httpx

from gpu_agent.protocol.manifest import Manifest, ManifestProgress, ModelProgress, ModelState
from gpu_agent.protocol.messages import PROTOCOL_VERSION, MalformedMessage, Refused

logger = logging.getLogger(__name__)
TIMEOUT = httpx.Timeout(10.0, connect=4.0)
EVERY_SECONDS = 2.0


class SiteSilent(Exception):
    """The site cannot be reached, or answers what cannot be read."""


class SiteRefuses(Exception):
    """The site answers no; the text says why."""


class Desk:
    """The two addresses of the site. Close it, or use it as a context."""

    def __init__(self, site_url: str, token: str) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        self._http = httpx.Client(base_url=site_url, headers=headers, timeout=TIMEOUT, trust_env=False)

    def __enter__(self) -> "Desk":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def manifest(self) -> Manifest:
        """SiteSilent, SiteRefuses."""
        answer = self._ask("GET", "/agent/v1/manifest")
        try:
            return Manifest.from_json(answer.content)
        except MalformedMessage as error:
            raise SiteSilent(f"the manifest cannot be read: {error}") from error

    def tell(self, words: ManifestProgress) -> None:
        """SiteSilent, SiteRefuses."""
        self._ask("POST", "/agent/v1/manifest/progress", words.to_json())

    def _ask(self, method: str, address: str, body: str = "") -> httpx.Response:
        try:
            answer = self._http.request(
                method, address, content=body or None, headers={"Content-Type": "application/json"}
            )
        except httpx.HTTPError as error:
            raise SiteSilent(f"the site cannot be reached: {type(error).__name__}") from error
        if answer.status_code >= 500:
            raise SiteSilent(f"the site answers {answer.status_code}")
        if answer.status_code >= 300:
            raise SiteRefuses(_why(answer))
        return answer


class Board:
    """How each file stands, filled by the puller and told on by a thread of its own: a slow site must not
    slow the transfers."""

    def __init__(self, tell: Callable[[ManifestProgress], None]) -> None:
        self._tell = tell
        self._guard = threading.Lock()
        self._files: dict[str, ModelProgress] = {}
        self._news = False
        self._pulled_bytes = 0
        self._left = threading.Event()
        self._thread: threading.Thread | None = None

    def put(self, told: ModelProgress) -> None:
        path = f"{told.folder}/{told.name}"
        with self._guard:
            before = self._files.get(path)
            if before and told.state == before.state == ModelState.PULLING:
                self._pulled_bytes += max(0, told.received_bytes - before.received_bytes)
            self._files[path] = told
            self._news = True

    @property
    def files(self) -> tuple[ModelProgress, ...]:
        with self._guard:
            return tuple(self._files.values())

    def __enter__(self) -> "Board":
        self._thread = threading.Thread(target=self._run, name="model-progress", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the thread and tells the last state."""
        self._left.set()
        if self._thread is not None:
            self._thread.join()
        self._say(self.words(ended=True))

    def words(self, *, ended: bool, bytes_per_second: int = 0) -> ManifestProgress:
        files = self.files
        if ended:  # nothing is on its way any more: what was being pulled broke off
            files = tuple(
                replace(one, state=ModelState.PARTIAL) if one.state == ModelState.PULLING else one
                for one in files
            )
        return ManifestProgress(PROTOCOL_VERSION, ended, files, bytes_per_second)

    def _run(self) -> None:
        while not self._left.wait(EVERY_SECONDS):
            with self._guard:
                news, self._news = self._news, False
                pulled, self._pulled_bytes = self._pulled_bytes, 0
            if news:
                self._say(self.words(ended=False, bytes_per_second=int(pulled / EVERY_SECONDS)))

    def _say(self, words: ManifestProgress) -> None:
        try:
            self._tell(words)
        except (SiteSilent, SiteRefuses) as error:
            logger.warning("progress was not told: %s", error)


def _why(answer: httpx.Response) -> str:
    try:
        refused = Refused.from_json(answer.content)
    except MalformedMessage:
        return f"the site answers {answer.status_code}"
    return f"{answer.status_code} {refused.code}: {refused.message}"
