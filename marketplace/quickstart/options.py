"""What `make run` and `make demo` can be told, read from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent


class OptionError(Exception):
    """A variable holds something unusable; the text names it."""


@dataclass(frozen=True)
class Bind:
    """An address to listen on. `::1` needs brackets: `[::1]:8000`."""

    host: str
    port: int

    @property
    def reach(self) -> str:
        """The address by which this machine itself gets there."""
        everywhere = self.host in ("0.0.0.0", "::", "")  # nosec B104
        return "127.0.0.1" if everywhere else self.host

    @property
    def is_local(self) -> bool:
        return self.host in ("127.0.0.1", "::1", "localhost")

    @property
    def url(self) -> str:
        host = f"[{self.reach}]" if ":" in self.reach else self.reach
        return f"http://{host}:{self.port}"


@dataclass(frozen=True)
class Options:
    """`agent_vram_gib` has one entry an agent. Empty URLs mean: start it here."""

    data_dir: Path
    web: Bind
    redis_bind: str
    agent_vram_gib: tuple[int, ...]
    comfyui_url: str
    database_url: str
    redis_url: str
    simulator_speed: float
    node_definitions: Path | None
    site_url: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Options":
        """OptionError names the variable that is wrong."""
        web = _bind("WEB_BIND", environment.get("WEB_BIND") or "127.0.0.1:8000")
        definitions = environment.get("NODE_DEFINITIONS", "")
        if definitions and not Path(definitions).is_file():
            raise OptionError(f"NODE_DEFINITIONS: there is no file {definitions}")
        return cls(
            data_dir=Path(environment.get("DATA_DIR") or REPOSITORY / "var").resolve(),
            web=web,
            redis_bind=environment.get("REDIS_BIND") or "127.0.0.1",
            agent_vram_gib=_whole_numbers("AGENTS", environment.get("AGENTS") or "24"),
            comfyui_url=environment.get("COMFYUI_URL", ""),
            database_url=environment.get("DATABASE_URL", ""),
            redis_url=environment.get("REDIS_URL", ""),
            simulator_speed=_positive("SIMULATOR_SPEED", environment.get("SIMULATOR_SPEED") or "1"),
            node_definitions=Path(definitions).resolve() if definitions else None,
            site_url=environment.get("SITE_URL") or web.url,
        )


def _bind(name: str, text: str) -> Bind:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or not 0 < int(port) < 65536:
        raise OptionError(f"{name} must be ADDRESS:PORT such as 0.0.0.0:8000, not {text!r}")
    return Bind(host.strip("[]"), int(port))


def _whole_numbers(name: str, text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and 0 < int(word) <= 1024 for word in words):
        raise OptionError(f"{name} must list the GiB of each agent, such as 8,24,80, not {text!r}")
    return tuple(int(word) for word in words)


def _positive(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1000:
        raise OptionError(f"{name} must be a number above 0 and at most 1000, not {text!r}")
    return value
