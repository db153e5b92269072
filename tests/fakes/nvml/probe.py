"""Reads the GPU with the agent's own probe each time a line comes in; answers one JSON line.

A process of its own, because NVML is looked for through LD_LIBRARY_PATH when Python starts.
"""

import asyncio
import json
import sys
from dataclasses import asdict

from gpu_agent.vram import DeviceLost, NvmlProbe, ProbeFailed


async def main() -> None:
    probe = NvmlProbe(sys.argv[1])
    for _ in sys.stdin:
        try:
            answer = asdict(await probe.read())
        except ProbeFailed as error:
            answer = {"failed": str(error), "lost": isinstance(error, DeviceLost)}
        print(json.dumps(answer), flush=True)


asyncio.run(main())
