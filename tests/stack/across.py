"""What runs inside a network namespace for test_split.py: `stores FOLDER ADDRESS` or `student URL`.

Each says what it has to say as one line of JSON.
"""

import asyncio
import hashlib
import json
import signal
import sys
from pathlib import Path

import httpx

from marketplace.quickstart.stores import Stores
from tests.fakes.students import ENDED, Student, picture, until


def stores(folder: str, address: str) -> None:
    """PostgreSQL on its socket and Valkey on the address, until SIGTERM."""
    kept = Stores(Path(folder), durable=False, redis_bind=f"{address}:6379")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        print(json.dumps(kept.start()), flush=True)
        signal.pause()
    finally:
        kept.stop()


async def student(url: str) -> None:
    """Buy one picture, wait for it and fetch it."""
    async with Student(url, "student") as person:
        answer = await person.order(await person.quote(picture(seed=1, steps=4), "Tram at night"))
        job_id = answer.raise_for_status().json()["id"]

        async def ended() -> bool:
            return (await person.job(job_id))["status"] in ENDED

        await until(ended, "the job's end")
        job = await person.job(job_id)
        for artifact in job["artifacts"]:
            link = await person.ask("GET", artifact["url"])
            async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
                body = link.content or (await http.get(link.headers["location"])).content
            artifact["fetched_sha256"] = hashlib.sha256(body).hexdigest()
        print(json.dumps(job), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "stores":
        stores(sys.argv[2], sys.argv[3])
    else:
        asyncio.run(student(sys.argv[2]))
