"""Everything one simulated ComfyUI holds in memory; a restart loses all of it but the files."""

import collections
import random
import string
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from gpu_agent.simulator.definitions import own_definitions, test_node_definitions
from gpu_agent.simulator.files import Folders
from gpu_agent.simulator.memory import Memory
from gpu_agent.simulator.misbehaviour import Machinery, Moment
from gpu_agent.simulator.options import Options
from gpu_agent.simulator.queue import PromptQueue
from gpu_agent.simulator.validation import Rules
from gpu_agent.simulator.websocket import Hub

LOG_ENTRIES = 300


class Interrupted(Exception):
    """The prompt was asked to stop and has come to a place where it looks."""


class Stopping(Exception):
    """The simulator itself is being stopped."""


class Machine:
    """State shared by the event loop (HTTP, sockets) and the worker thread."""

    def __init__(self, options: Options, die: Callable[[], None]) -> None:
        self.options = options
        self.folders = Folders(options.folder)
        self.memory = Memory(options.vram_bytes, options.ram_bytes)
        self.definitions: dict[str, Any] = dict(
            own_definitions() if options.definitions is None else options.definitions
        )
        if options.test_nodes:
            self.definitions.update(test_node_definitions())
        self.hub = Hub()
        self.queue = PromptQueue(self.tell_status)
        self.stopping = threading.Event()
        self.number = 0
        self.moment: Moment | None = None  # the node run last and how far it got, for tests to watch
        self.cache: dict[str, Any] = {}
        self.logs: collections.deque[dict[str, str]] = collections.deque(maxlen=LOG_ENTRIES)
        self.machinery = Machinery(die, self.stopping)
        self._interrupt = False
        self._interrupt_lock = threading.Lock()
        self._suffixes: dict[tuple[str, str], str] = {}

    @property
    def rules(self) -> Rules:
        return Rules(self.definitions, self.options.any_model, self.folders.has_upload, self.options.is_old)

    def status(self) -> dict[str, Any]:
        return {"exec_info": {"queue_remaining": self.queue.remaining()}}

    def tell_status(self) -> None:
        self.hub.send("status", {"status": self.status()}, None)

    def stop(self) -> None:
        """End the worker: at once when it waits or sleeps, else at the node's next pause."""
        self.stopping.set()
        self.queue.set_flag("stopping", True)

    def interrupt(self) -> None:
        """Stop what runs, at the next node start or tick."""
        if self.options.misbehaviour.takes_interrupt():
            with self._interrupt_lock:
                self._interrupt = True

    def clear_interrupt(self) -> None:
        with self._interrupt_lock:
            self._interrupt = False

    def check_interrupt(self) -> None:
        """Raises `Interrupted` once for each interrupt."""
        if self.stopping.is_set():
            raise Stopping
        with self._interrupt_lock:
            asked, self._interrupt = self._interrupt, False
        if asked:
            raise Interrupted

    def sleep_until(self, deadline: float) -> None:
        """Wait for a monotonic time. Raises `Stopping` when the simulator ends meanwhile."""
        left = deadline - time.monotonic()
        if self.stopping.wait(left) if left > 0 else self.stopping.is_set():
            raise Stopping

    def temp_suffix(self, node_id: str, class_type: str) -> str:
        """The random letters in the names of a preview node's files, kept while its outputs are cached."""
        key = (node_id, class_type)
        if key not in self._suffixes:
            letters = random.choices(string.ascii_lowercase, k=5)  # nosec B311
            self._suffixes[key] = "".join(letters)
        return self._suffixes[key]

    def free(self, flags: Mapping[str, Any]) -> None:
        """What POST /free asked for, read by the worker between prompts."""
        free_memory = bool(flags.get("free_memory", False))
        if flags.get("unload_models", free_memory):
            self.memory.unload()
        if free_memory:
            self.cache.clear()
            self._suffixes.clear()
            self.memory.forget()

    def log(self, line: str) -> None:
        self.logs.append({"t": datetime.now(UTC).replace(tzinfo=None).isoformat(), "m": line + "\n"})

    def system_stats(self) -> dict[str, Any]:
        """GET /system_stats."""
        held, unused = self.memory.reserved_bytes()
        device = {
            "name": f"Simulated GPU {round(self.options.vram_bytes / 1024**3)} GB",
            "type": "cuda",
            "index": 0,
            "vram_total": self.memory.vram_bytes,
            "vram_free": self.memory.free_bytes(),
            "torch_vram_total": held,
            "torch_vram_free": unused,
        }
        system: dict[str, Any] = {
            "os": "posix" if self.options.is_old else "linux",
            "ram_total": self.memory.ram_bytes,
            "ram_free": self.memory.ram_free_bytes(),
            "comfyui_version": self.options.version,
            "required_frontend_version": "1.27.10" if self.options.is_old else "1.49.6",
            "installed_templates_version": "0.11.44",
            "required_templates_version": "0.1.94" if self.options.is_old else "0.11.44",
            "python_version": "3.11.7 (simulated)",
            "pytorch_version": "2.13.0+simulated",
            "embedded_python": False,
            "argv": ["main.py", "--simulated"],
        }
        if not self.options.is_old:
            package = {"name": "comfyui-frontend-package", "installed": "1.49.6", "required": "1.49.6"}
            system |= {"comfy_package_versions": [package], "deploy_environment": "simulated"}
        return {"system": system, "devices": [device]}

    def features(self) -> dict[str, Any]:
        """GET /features, and the answer to a client's feature flags."""
        if self.options.is_old:
            return {"supports_preview_metadata": True, "max_upload_size": 104857600}
        return {
            "supports_preview_metadata": True,
            "supports_model_type_tags": True,
            "max_upload_size": 104857600,
            "extension": {"manager": {"supports_v4": True}},
            "node_replacements": True,
            "assets": False,
        }
