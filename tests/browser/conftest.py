"""A whole site as processes, and Chromium to look at it. One site serves all tests of this folder."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import httpx
import pytest
from django.conf import settings
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Response, sync_playwright

from tests.factories.workflows import a_sketch
from tests.polling import poll

REPOSITORY = Path(__file__).resolve().parent.parent.parent
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
START_SECONDS = 90
STORES_OF_THE_TESTS = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "DATA_DIR", "DJANGO_SETTINGS_MODULE")


@dataclass
class Watched:
    """A page, and everything it complained of: console errors, broken scripts, refused requests."""

    page: Page
    site: str
    complaints: list[str] = field(default_factory=list)

    def visit(self, address: str) -> None:
        self.page.goto(f"{self.site}{address}")

    def sign_in(self, name: str = "student") -> None:
        self.visit("/sign-in")
        self.page.get_by_label("User name").fill(name)
        self.page.get_by_label("Password").fill("darkroom-demo")
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url("**/studio")

    def hear_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def hear_response(self, response: Response) -> None:
        if response.status >= 500:
            self.complaints.append(f"{response.status} {response.url}")


@pytest.fixture(autouse=True, scope="session")
def _static_folder() -> None:
    """WhiteNoise warns where there is none."""
    settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a house of its own in a folder of its own: stores, site, market loop, one simulated GPU."""
    folder = tmp_path_factory.mktemp("house")
    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    environment = {name: value for name, value in os.environ.items() if name not in STORES_OF_THE_TESTS}
    environment["PYTHONPATH"] = str(REPOSITORY)
    environment |= {"DATA_DIR": str(folder), "WEB_BIND": f"127.0.0.1:{port}"}
    environment |= {"SIMULATOR_SPEED": "4", "SIMULATED_MODELS": "listed"}
    with tempfile.TemporaryFile() as output:
        house = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("house.py"))],
            cwd=REPOSITORY, env=environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            _await_first_price(house, address, output)
            yield address
        finally:
            house.send_signal(signal.SIGINT)
            try:
                house.wait(timeout=40)
            except subprocess.TimeoutExpired:
                house.kill()


@pytest.fixture
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with browser.new_context(viewport={"width": 1280, "height": 900}) as opened:
        yield opened


@pytest.fixture
def watched(context: BrowserContext, site: str) -> Watched:
    """A fresh page on the site. A test ends with `assert not watched.complaints`."""
    found = Watched(context.new_page(), site)
    found.page.on("console", found.hear_console)
    found.page.on("pageerror", lambda fault: found.complaints.append(f"script: {fault}"))
    found.page.on("response", found.hear_response)
    return found


def _await_first_price(house: "subprocess.Popen[bytes]", address: str, output: IO[bytes]) -> None:
    """Until the site answers and its agent has told what it can run."""
    with httpx.Client(base_url=address, trust_env=False, timeout=10) as client:
        poll(lambda: _answers(client, house, output), START_SECONDS, "an answer of the site")
        login = {"username": "instructor", "password": "darkroom-demo"}
        client.get("/sign-in")
        assert client.post("/sign-in", data={**login, **_token(client)}).is_redirect, (
            "the instructor is let in"
        )
        sketch = {"workflow": json.dumps(a_sketch())}
        poll(
            lambda: client.post("/studio", data={**sketch, **_token(client)}).is_redirect,
            START_SECONDS,
            "a price",
        )


def _token(client: httpx.Client) -> dict[str, str]:
    return {"csrfmiddlewaretoken": client.cookies["csrftoken"]}


def _answers(client: httpx.Client, house: "subprocess.Popen[bytes]", output: IO[bytes]) -> bool:
    if house.poll() is not None:
        output.seek(0)
        pytest.fail("the house fell:\n" + output.read().decode(errors="replace")[-3000:])
    try:
        return client.get("/health/ready").is_success
    except httpx.TransportError:
        return False  # not listening yet


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
