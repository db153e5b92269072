"""Run a house of the quick start until told to stop, its options in the environment."""

import asyncio
import os
import sys

from marketplace.quickstart.house import House
from marketplace.quickstart.options import Options
from marketplace.quickstart.supervisor import Supervisor


def main() -> int:
    house = House(Options.from_environment(os.environ), _say, durable=False)
    try:
        house.prepare()
        return asyncio.run(Supervisor(house.children(), house.stores, _say).run(_nothing))
    finally:
        house.stop()


async def _nothing() -> None:
    """What is done meanwhile: the tests do it, from outside."""


def _say(name: str, line: str) -> None:
    print(f"{name} | {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
