"""Scripted students: clients of a house's HTTP API that bear with a site that restarts."""

import asyncio
import re
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

import httpx

from marketplace.quickstart.logins import DEMO_PASSWORD

CLASS = ("student", *(f"student{number}" for number in range(2, 21)))  # of the demo class
ENDED = frozenset({"succeeded", "failed", "cancelled"})
TROUBLE = frozenset({429, 502, 503})
PATIENCE_SECONDS = 90.0
RETRY_SECONDS = 0.5
SD15, SDXL = "v1-5-pruned-emaonly.safetensors", "sd_xl_base_1.0.safetensors"


class GaveUp(RuntimeError):
    """The site did not answer for as long as a student would wait."""


class Student:
    """One person of the demo class, signed in by name."""

    def __init__(self, url: str, name: str) -> None:
        self.name = name
        self._http = httpx.AsyncClient(base_url=url, trust_env=False, timeout=30)
        self._browser = httpx.AsyncClient(base_url=url, trust_env=False, timeout=30)
        self._signed_in = False

    async def __aenter__(self) -> "Student":
        credentials = {"username": self.name, "password": DEMO_PASSWORD}
        answer = await self.ask("POST", "/api/v1/token", json=credentials)
        self._http.headers["Authorization"] = f"Bearer {answer.raise_for_status().json()['token']}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()
        await self._browser.aclose()

    async def ask(
        self, method: str, path: str, *, trouble: frozenset[int] = TROUBLE, **options: Any
    ) -> httpx.Response:
        """An answer of the API other than trouble. Raises `GaveUp`."""
        return await _patiently(self._http, method, path, trouble, **options)

    async def page(self, path: str) -> str:
        """A page as a browser gets it. Raises `GaveUp`."""
        if not self._signed_in:
            form = (await _patiently(self._browser, "GET", "/sign-in")).raise_for_status().text
            token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)
            assert token is not None, form
            words = {"username": self.name, "password": DEMO_PASSWORD, "csrfmiddlewaretoken": token[1]}
            answer = await _patiently(self._browser, "POST", "/sign-in", data=words)
            assert answer.status_code == 302, answer.text
            self._signed_in = True
        return (await _patiently(self._browser, "GET", path)).raise_for_status().text

    async def quote(self, workflow: dict[str, Any], title: str) -> str:
        """The id of a quote."""
        answer = await self.ask("POST", "/api/v1/quotes", json={"workflow": workflow, "title": title})
        return str(answer.raise_for_status().json()["id"])

    async def order(self, quote: str, bid: int = 1) -> httpx.Response:
        """The answer to an order, a refusal included."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        words = {"quote": quote, "bid": bid}
        full = TROUBLE - {429}  # that one means: enough of yours wait
        return await self.ask("POST", "/api/v1/jobs", json=words, headers=headers, trouble=full)

    async def job(self, job_id: str) -> dict[str, Any]:
        found: dict[str, Any] = (await self.ask("GET", f"/api/v1/jobs/{job_id}")).raise_for_status().json()
        return found

    async def cancel(self, job_id: str) -> None:
        (await self.ask("POST", f"/api/v1/jobs/{job_id}/cancel")).raise_for_status()


def picture(seed: int, steps: int, *, model: str = SD15, size: int = 512) -> dict[str, Any]:
    """A text-to-image graph. The seed makes it new to ComfyUI's cache."""
    sampling = {"cfg": 7.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    return {
        "4": _node("CheckpointLoaderSimple", ckpt_name=model),
        "5": _node("EmptyLatentImage", width=size, height=size, batch_size=1),
        "6": _node("CLIPTextEncode", text="an empty tram at night, charcoal", clip=["4", 1]),
        "7": _node("CLIPTextEncode", text="text, watermark", clip=["4", 1]),
        "3": _node(
            "KSampler", seed=seed, steps=steps, **sampling,
            model=["4", 0], positive=["6", 0], negative=["7", 0], latent_image=["5", 0],
        ),
        "8": _node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": _node("SaveImage", filename_prefix="picture", images=["8", 0]),
    }  # fmt: skip


async def until(question: Callable[[], Coroutine[Any, Any, bool]], what: str, seconds: float = 90.0) -> None:
    """Ask until it is true. Raises `GaveUp`."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not await question():
        if asyncio.get_running_loop().time() > deadline:
            raise GaveUp(f"{what} within {seconds:g} s")
        await asyncio.sleep(RETRY_SECONDS)


async def _patiently(
    http: httpx.AsyncClient, method: str, path: str, trouble: frozenset[int] = TROUBLE, **options: Any
) -> httpx.Response:
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while True:
        try:
            answer = await http.request(method, path, **options)
            if answer.status_code not in trouble:
                return answer
            told = str(answer.status_code)
        except httpx.TransportError as error:
            told = type(error).__name__
        if asyncio.get_running_loop().time() > deadline:
            raise GaveUp(f"{method} {path}: {told}")
        await asyncio.sleep(RETRY_SECONDS)


def _node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}
