"""The simulated GPU's memory: which models lie in it, and what /system_stats says of that."""

import threading
from collections import OrderedDict

CONTEXT_BYTES = 400 * 1024**2  # what the driver and the runtime take for themselves


class Memory:
    """Bytes throughout. Safe to use from any thread."""

    def __init__(self, vram_bytes: int, ram_bytes: int) -> None:
        self._lock = threading.Lock()
        self.vram_bytes = vram_bytes
        self.ram_bytes = ram_bytes
        self._on_gpu: OrderedDict[str, int] = OrderedDict()
        self._in_ram: dict[str, int] = {}
        self._working = 0  # torch keeps the peak reserved until it is told to free it

    def in_ram(self, file: str) -> bool:
        with self._lock:
            return file in self._in_ram

    def read(self, file: str, size_bytes: int) -> None:
        """The file was read into RAM."""
        with self._lock:
            self._in_ram[file] = size_bytes

    def place(self, file: str, size_bytes: int, working_bytes: int = 0) -> int:
        """Bring a model to the GPU beside `working_bytes`; returns the bytes that had to be moved.

        Others make room, the least recently used first. What is bigger than the card stays partly in RAM.
        """
        with self._lock:
            room = max(0, self.vram_bytes - CONTEXT_BYTES - working_bytes)
            wanted = min(size_bytes, room)
            moved = 0 if self._on_gpu.get(file, -1) >= wanted else wanted - self._on_gpu.get(file, 0)
            self._on_gpu[file] = wanted
            self._on_gpu.move_to_end(file)
            while sum(self._on_gpu.values()) > room and len(self._on_gpu) > 1:
                self._on_gpu.popitem(last=False)
            self._working = min(max(self._working, working_bytes), self.vram_bytes - CONTEXT_BYTES)
            return max(0, moved)

    def unload(self) -> None:
        """Models leave the GPU, and torch gives its reserve back."""
        with self._lock:
            self._on_gpu.clear()
            self._working = 0

    def forget(self) -> None:
        """Models leave RAM as well."""
        with self._lock:
            self._in_ram.clear()

    def resident(self) -> list[str]:
        with self._lock:
            return list(self._on_gpu)

    def reserved_bytes(self) -> tuple[int, int]:
        """What torch holds, and how much of that is unused."""
        with self._lock:
            models = sum(self._on_gpu.values())
            held = min(models + self._working, self.vram_bytes - CONTEXT_BYTES)
            return held, max(0, held - models)

    def free_bytes(self) -> int:
        held, unused = self.reserved_bytes()
        return self.vram_bytes - CONTEXT_BYTES - held + unused

    def ram_free_bytes(self) -> int:
        with self._lock:
            return max(0, self.ram_bytes - 2 * 1024**3 - sum(self._in_ram.values()))
