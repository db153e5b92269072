"""Supervision of ComfyUI itself, when the operator gave its start command."""

import asyncio
import contextlib
import os
import shlex
import signal
import time
from pathlib import Path

import structlog

logger = structlog.get_logger(__name__)

BACKOFF_SECONDS = (0.2, 1.0, 2.0, 5.0, 10.0, 30.0)
STEADY_SECONDS = 60.0
TERM_SECONDS = 5.0


class ComfyUIProcess:
    """Starts ComfyUI, starts it again with growing waits when it ends, kills it on request."""

    def __init__(self, command: str, log_path: Path) -> None:
        """`command` is split like a shell would, but no shell ever sees it."""
        self._argv = shlex.split(command)
        self._log_path = log_path
        self._process: asyncio.subprocess.Process | None = None
        self.killed_by: int | None = (
            None  # signal that ended it last; 9 unasked is the kernel's memory killer
        )
        self._asked = False

    async def run(self) -> None:
        """Until cancelled; then ComfyUI is stopped too."""
        failures = 0
        while True:
            began = time.monotonic()
            await self._once()
            failures = 0 if self._asked or time.monotonic() - began > STEADY_SECONDS else failures + 1
            await asyncio.sleep(BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)])

    async def restart(self, why: str) -> bool:
        logger.warning("comfyui_restart", why=why)
        self._asked = True
        process = self._process
        if process is not None and process.returncode is None:
            _signal_group(process, signal.SIGKILL)
            await process.wait()
        return True

    async def _once(self) -> None:
        self._asked = False
        with self._log_path.open("ab") as log:
            self._process = process = await asyncio.create_subprocess_exec(
                *self._argv, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        logger.info("comfyui_started", pid=process.pid)
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            await _stop(process)
            raise
        self.killed_by = -code if code < 0 and not self._asked else None
        logger.warning("comfyui_ended", code=code, asked=self._asked)


async def _stop(process: asyncio.subprocess.Process) -> None:
    _signal_group(process, signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), TERM_SECONDS)
    except TimeoutError:
        _signal_group(process, signal.SIGKILL)
        await process.wait()


def _signal_group(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
