"""`python -m marketplace.quickstart run|demo`: the commands behind `make run` and `make demo`."""

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path

import environ
import httpx

from marketplace.quickstart import demo
from marketplace.quickstart.house import House, HouseError
from marketplace.quickstart.logins import LOGINS
from marketplace.quickstart.options import REPOSITORY, OptionError, Options
from marketplace.quickstart.stores import StoreError
from marketplace.quickstart.supervisor import Supervisor

PATIENCE_SECONDS = 60


def main() -> int:
    arguments = _arguments()
    environ.Env.read_env(REPOSITORY / ".env")
    try:
        if arguments.command == "demo":
            return demo.main(arguments.workflows, many=arguments.many, environment=os.environ)
        return run(Options.from_environment(os.environ))
    except (OptionError, StoreError, HouseError) as error:
        print(f"Cannot start: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def run(options: Options) -> int:
    """Keep a whole house running until Ctrl-C."""
    house = House(options, say)
    try:
        house.prepare()
        supervisor = Supervisor(house.children(), house.stores, say)

        async def welcome() -> None:
            await until_healthy(options.web.url)
            print(_banner(house), flush=True)

        return asyncio.run(supervisor.run(welcome))
    finally:
        say("setup", "stopping the stores")
        house.stop()
        say("setup", "stopped")


async def until_healthy(url: str) -> None:
    """Wait until the site answers; says so once when that takes long."""
    began = time.monotonic()
    told = False
    async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
        while True:
            try:
                if (await client.get(f"{url}/health/ready")).is_success:
                    return
            except httpx.TransportError:
                pass  # not listening yet
            if not told and time.monotonic() - began > PATIENCE_SECONDS:
                say("setup", f"no answer at {url} yet; the lines of 'web' say why")
                told = True
            await asyncio.sleep(0.2)


def say(name: str, line: str) -> None:
    for part in line.splitlines() or [""]:
        print(f"{name:>12} | {part}", flush=True)


def _banner(house: House) -> str:
    logins = "\n".join(f"    {login.username:<12} {login.password}" for login in LOGINS)
    agents = ", ".join(agent.name for agent in house.agents)
    return f"""
  The site is at {house.options.site_url}
  Sign in as
{logins}
  Agents: {agents}. Data: {house.options.data_dir}. Ctrl-C stops everything.
"""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m marketplace.quickstart", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="the whole site in ./var, until Ctrl-C")
    rehearse = commands.add_parser("demo", help="one job on a throw-away site, from order to receipt")
    rehearse.add_argument("workflows", nargs="*", type=Path, help="workflow files, or folders of *.api.json")
    rehearse.add_argument("--many", action="store_true", help="all files on one site, and a table at the end")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
