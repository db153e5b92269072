"""`make demo`: a throw-away site, and jobs bought through its public HTTP API as a student would."""

import asyncio
import dataclasses
import io
import json
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from PIL import Image, ImageDraw

from jobs.job_types.comfyui.starters import STARTERS
from marketplace.quickstart import ports
from marketplace.quickstart.house import House, HouseError
from marketplace.quickstart.logins import LOGINS
from marketplace.quickstart.options import REPOSITORY, Bind, OptionError, Options
from marketplace.quickstart.supervisor import Supervisor

STARTER = "sdxl-text-to-image"
SPEED = "20"
ENDED = ("succeeded", "failed", "cancelled")
LOOK_SECONDS = 0.15
AGENT_PATIENCE_SECONDS = 60
JOB_PATIENCE_SECONDS = 600


class Refused(Exception):
    """The site would not take the workflow; the lines say which node and why."""


@dataclass(frozen=True)
class Bought:
    """What became of one workflow; amounts in milli-credits."""

    workflow: Path
    outcome: str
    quote_milli: int = 0
    ceiling_milli: int = 0
    seconds: float = 0.0
    words: str = ""


def main(workflows: Sequence[Path], *, many: bool, environment: Mapping[str, str]) -> int:
    """Buy each workflow (files, or folders of *.api.json) on one site. 0 when all ended in success, or, for
    many, in success or a refusal that names the node."""
    files = _files(workflows)
    with tempfile.TemporaryDirectory(prefix="darkroom-demo-") as folder:
        if not files:
            files = [Path(folder) / f"{STARTER}.json"]
            files[0].write_text(json.dumps(_starter()), encoding="utf-8")
        options = _options(environment, Path(folder))
        with (Path(folder) / "house.log").open("w") as log:

            def say(name: str, line: str) -> None:
                log.write(f"{name} | {line}\n")

            house = House(options, say, durable=False)
            try:
                print("Starting a throw-away site …", flush=True)
                house.prepare()
                supervisor = Supervisor(house.children(), house.stores, say)

                async def shop() -> int:
                    return await _shop(options.web.url, files, many)

                return asyncio.run(supervisor.run(shop))
            except (HouseError, httpx.HTTPError) as error:
                log.flush()
                raise HouseError(f"{error}\n{_last_lines(Path(log.name))}") from error
            finally:
                house.stop()


async def _shop(url: str, files: Sequence[Path], many: bool) -> int:
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:
        await _ready(client)
        login = LOGINS[0]
        answer = await client.post(
            "/api/v1/token", json={"username": login.username, "password": login.password}
        )
        client.headers["Authorization"] = f"Bearer {answer.raise_for_status().json()['token']}"
        results = [await _try_one(client, file) for file in files]
    if many:
        _print_table(results)
        return int(any(result.outcome not in ("succeeded", "refused") for result in results))
    return int(results[0].outcome != "succeeded")


async def _try_one(client: httpx.AsyncClient, file: Path) -> Bought:
    began = time.monotonic()
    print(f"\n{file.name}", flush=True)
    try:
        quote = await _quote(client, file)
        print(f"  {quote['summary']}: {quote['quote']} credits, never above {quote['ceiling']}")
        job = await _run(client, quote["id"])
    except Refused as refusal:
        print(f"  Refused:\n{refusal}", file=sys.stderr, flush=True)
        first = str(refusal).strip().splitlines()[0].strip()
        return Bought(file, "refused", seconds=time.monotonic() - began, words=first)
    money = (quote["quote_milli"], quote["ceiling_milli"], time.monotonic() - began)
    if job["status"] != "succeeded":
        words = f"{job['cause'] or job['status']}: {job['message']}"
        print(f"  {words}", file=sys.stderr, flush=True)
        return Bought(file, job["status"], *money, words)
    for artifact in job["artifacts"]:
        print(f"  Saved {await _save(client, artifact)}")
    receipt = job["receipt"]
    print(
        f"  Receipt: quote {receipt['quote']}, set aside {receipt['held']}, paid {receipt['captured']},"
        f" returned {receipt['returned']}, balance {receipt['available']} (simulated GPU)"
        if job["simulated"]
        else f"  Receipt: {receipt}",
        flush=True,
    )
    return Bought(file, "succeeded", *money, f"{len(job['artifacts'])} outputs")


async def _quote(client: httpx.AsyncClient, file: Path) -> dict[str, Any]:
    """Quote the file; images it names are made and uploaded, once."""
    try:
        body = {"workflow": file.read_text(encoding="utf-8"), "title": file.name.split(".")[0]}
    except UnicodeDecodeError:
        raise Refused("  the file is not UTF-8 text") from None
    answer = await client.post("/api/v1/quotes", json=body)
    if answer.status_code == 400:
        missing = [one for one in answer.json().get("problems", []) if one["code"] == "missing_upload"]
        names = _file_names(body["workflow"], missing) if missing else []
        if names:
            for name in names:
                await _upload(client, name)
            answer = await client.post("/api/v1/quotes", json=body)
    if answer.status_code != 201:
        raise Refused(_reasons(answer))
    return dict(answer.json())


async def _run(client: httpx.AsyncClient, quote_id: str) -> dict[str, Any]:
    answer = await client.post(
        "/api/v1/jobs", json={"quote": quote_id}, headers={"Idempotency-Key": str(uuid.uuid4())}
    )
    if answer.status_code not in (200, 201):
        raise Refused(_reasons(answer))
    job_id, last = answer.json()["id"], ""
    deadline = time.monotonic() + JOB_PATIENCE_SECONDS
    while True:
        job: dict[str, Any] = (await client.get(f"/api/v1/jobs/{job_id}")).raise_for_status().json()
        line = _progress_line(job)
        if line != last:
            print(f"    {line}", flush=True)
            last = line
        if job["status"] in ENDED:
            return job
        if time.monotonic() > deadline:
            return {**job, "cause": "timed_out", "message": f"not done after {JOB_PATIENCE_SECONDS} s"}
        await asyncio.sleep(LOOK_SECONDS)


def _progress_line(job: Mapping[str, Any]) -> str:
    frame = job.get("progress")
    if not frame or job["status"] in ENDED:
        return f"{job['status']}" + (f": {job['wait_reason']}" if job.get("wait_reason") else "")
    step = f", step {frame['step']} of {frame['steps']}" if frame.get("step") else ""
    return f"{job['status']}: {frame.get('node_title') or '…'}{step}, {frame.get('percent', 0):.0f} %"


async def _save(client: httpx.AsyncClient, artifact: Mapping[str, Any]) -> Path:
    folder = REPOSITORY / "var" / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / Path(artifact["name"]).name
    answer = await client.get(artifact["url"], follow_redirects=True)
    path.write_bytes(answer.raise_for_status().content)
    return path


async def _ready(client: httpx.AsyncClient) -> None:
    """Until the site answers; the first quote waits for the agent's inventory. HouseError if they don't."""
    deadline = time.monotonic() + AGENT_PATIENCE_SECONDS
    while not await _answers(client):
        if time.monotonic() > deadline:
            raise HouseError(f"the site did not answer within {AGENT_PATIENCE_SECONDS} s")
        await asyncio.sleep(LOOK_SECONDS)
    login = LOGINS[0]
    token = await client.post("/api/v1/token", json={"username": login.username, "password": login.password})
    headers = {"Authorization": f"Bearer {token.raise_for_status().json()['token']}"}
    probe = {"workflow": _starter()}
    while time.monotonic() < deadline:
        answer = await client.post("/api/v1/quotes", json=probe, headers=headers)
        if answer.status_code != 503:  # 503: no agent has told yet what it can run
            return
        await asyncio.sleep(LOOK_SECONDS)
    raise HouseError(f"no agent told within {AGENT_PATIENCE_SECONDS} s what it can run")


async def _answers(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/health/ready")).is_success
    except httpx.TransportError:  # not listening yet
        return False


async def _upload(client: httpx.AsyncClient, name: str) -> None:
    picture = Image.new("RGB", (1024, 1024), (38, 70, 83))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((260, 180, 760, 680), fill=(233, 196, 106))
    draw.rectangle((0, 700, 1024, 1024), fill=(42, 157, 143))
    buffer = io.BytesIO()
    suffix = Path(name).suffix.lower()
    picture.save(buffer, {".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}.get(suffix, "PNG"))
    answer = await client.post("/api/v1/uploads", files={"file": (name, buffer.getvalue())})
    if answer.status_code not in (200, 201):
        raise Refused(_reasons(answer))


def _file_names(workflow: str, problems: Sequence[Mapping[str, str]]) -> list[str]:
    """The files that the named inputs of an API-format graph ask for."""
    graph = json.loads(workflow)
    graph = graph.get("prompt", graph)
    found = (graph.get(one["node"], {}).get("inputs", {}).get(one["field"]) for one in problems)
    return sorted({name for name in found if isinstance(name, str)})


def _reasons(answer: httpx.Response) -> str:
    try:
        told = answer.json()
    except ValueError:
        return f"  {answer.status_code}: {answer.text[:300]}"
    problems = told.get("problems") or [told]
    return "\n".join(
        f"  node {one.get('node') or '–'} {one.get('node_type', '')} {one.get('field', '')}: {one['message']}"
        for one in problems
    )


def _last_lines(log: Path) -> str:
    """What the processes said last; their folder goes away with the demo."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])


def _files(workflows: Sequence[Path]) -> list[Path]:
    """The files named, and those of the folders named. OptionError names an absent one."""
    files: list[Path] = []
    for path in workflows:
        found = sorted(path.glob("*.api.json")) if path.is_dir() else [path]
        if not found or not all(file.is_file() for file in found):
            wanted = "no *.api.json in the folder" if path.is_dir() else "no file"
            raise OptionError(f"WORKFLOW: there is {wanted} {path}")
        files += found
    return files


def _starter() -> dict[str, Any]:
    """The workflow of the starter, in API format."""
    return next(one.payload for one in STARTERS if one.slug == STARTER)


def _options(environment: Mapping[str, str], folder: Path) -> Options:
    vram = environment.get("AGENTS") or "80"
    given = {**environment, "AGENTS": vram, "SIMULATOR_SPEED": environment.get("SIMULATOR_SPEED") or SPEED}
    # Throw-away means: on stores of its own.
    own = ("DATABASE_URL", "REDIS_URL", "SITE_URL")
    given = {name: value for name, value in given.items() if name not in own}
    bind = Bind("127.0.0.1", ports.free_port())
    return dataclasses.replace(
        Options.from_environment(given), data_dir=folder.resolve(), web=bind, site_url=bind.url
    )


def _print_table(results: Sequence[Bought]) -> None:
    print(f"\n{'workflow':<52}{'outcome':<11}{'price':>9}{'ceiling':>9}{'seconds':>9}  words")
    for one in results:
        print(
            f"{one.workflow.name:<52}{one.outcome:<11}{one.quote_milli / 1000:>9.2f}"
            f"{one.ceiling_milli / 1000:>9.2f}{one.seconds:>9.1f}  {one.words[:110]}"
        )
