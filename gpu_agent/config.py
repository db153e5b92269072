"""What the operator of a GPU host decides, read from the environment and the command line.

Every mistake is found at start and named by its variable; nothing is guessed about the GPU.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

MEGABYTE = 1024 * 1024
SIMULATED = "simulated"


class BadConfiguration(ValueError):
    """A setting is missing or makes no sense; the message names the variable."""


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of one agent, which serves one GPU."""

    site_url: str
    token: str = field(repr=False)
    comfyui_url: str
    gpu: str  # NVML index or UUID, or "simulated"
    vram_probe: Literal["nvml", "comfyui"]
    vram_margin_bytes: int
    speed_factor: float  # against the reference GPU
    data_dir: Path
    log_format: Literal["console", "json"]
    log_level: str
    comfyui_dir: Path | None  # ComfyUI's base folder, when the agent may clean up in it
    comfyui_command: str  # "" = somebody else starts ComfyUI
    hang_seconds: float  # silence on the reference GPU after which a prompt hangs
    disk_floor_bytes: int
    any_model: bool = False  # of a simulated GPU: whatever file a graph names is there

    @property
    def simulated(self) -> bool:
        return self.gpu == SIMULATED

    @property
    def comfyui_on_loopback(self) -> bool:
        return urlsplit(self.comfyui_url).hostname in {"127.0.0.1", "localhost", "::1"}


def load(argv: Sequence[str], environ: Mapping[str, str] = os.environ) -> Config:
    """Read the command line over the environment. Raises `BadConfiguration`."""
    given = _parser().parse_args(argv)
    env = _Environment(environ, {name: value for name, value in vars(given).items() if value})
    simulated = env.flag("COMFYUI_SIMULATED") or env.text("AGENT_GPU", "") == SIMULATED
    gpu = SIMULATED if simulated else env.text("AGENT_GPU", "0")
    probe = env.choice("VRAM_PROBE", ("nvml", "comfyui"), "comfyui" if simulated else "nvml")
    if simulated and probe == "nvml":
        raise BadConfiguration("VRAM_PROBE: nvml cannot see a simulated GPU; leave it out or say comfyui")
    comfyui_dir = env.text("COMFYUI_DIR", "")
    return Config(
        site_url=env.url("SITE_URL"),
        token=env.required("AGENT_TOKEN"),
        comfyui_url=env.url("COMFYUI_URL", "http://127.0.0.1:8188"),
        gpu=gpu,
        vram_probe="nvml" if probe == "nvml" else "comfyui",
        vram_margin_bytes=int(env.number("VRAM_MARGIN_MB", 512, low=0) * MEGABYTE),
        speed_factor=_speed_factor(env, simulated),
        data_dir=Path(env.text("AGENT_DATA_DIR", "var/agent")).expanduser(),
        log_format="json"
        if env.choice("LOG_FORMAT", ("console", "json"), "console") == "json"
        else "console",
        log_level=env.choice("LOG_LEVEL", ("DEBUG", "INFO", "WARNING", "ERROR"), "INFO"),
        comfyui_dir=_folder(comfyui_dir) if comfyui_dir else None,
        comfyui_command=env.text("COMFYUI_COMMAND", ""),
        hang_seconds=env.number("HANG_SECONDS", 60, low=1),
        disk_floor_bytes=int(env.number("DISK_FLOOR_MB", 1024, low=0) * MEGABYTE),
        any_model=simulated and env.choice("SIMULATED_MODELS", ("any", "listed"), "any") == "any",
    )


def _speed_factor(env: "_Environment", simulated: bool) -> float:
    if simulated:
        return env.number("SIMULATOR_SPEED", 1.0, low=0.001)
    return env.number("SPEED_FACTOR", 1.0, low=0.001)


def _folder(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_dir():
        raise BadConfiguration(f"COMFYUI_DIR: {text} is not a folder")
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gpu_agent",
        description="Runs the class's jobs on this host's GPU. Options win over the environment variables.",
    )
    parser.add_argument("--site", dest="SITE_URL", help="address of the site (SITE_URL)")
    parser.add_argument("--token", dest="AGENT_TOKEN", help="token shown at enrolment (AGENT_TOKEN)")
    parser.add_argument("--comfyui", dest="COMFYUI_URL", help="address of ComfyUI (COMFYUI_URL)")
    parser.add_argument("--gpu", dest="AGENT_GPU", help="NVML index or UUID, or 'simulated' (AGENT_GPU)")
    parser.add_argument("--data-dir", dest="AGENT_DATA_DIR", help="journal and spool (AGENT_DATA_DIR)")
    return parser


class _Environment:
    """Typed reading of named settings; options given on the command line come first."""

    def __init__(self, environ: Mapping[str, str], options: Mapping[str, str]) -> None:
        self._values = {**environ, **options}

    def text(self, name: str, default: str) -> str:
        return self._values.get(name, "").strip() or default

    def required(self, name: str) -> str:
        value = self.text(name, "")
        if not value:
            raise BadConfiguration(f"{name} is not set")
        return value

    def flag(self, name: str) -> bool:
        value = self.text(name, "0").lower()
        if value not in {"0", "1", "true", "false", "yes", "no"}:
            raise BadConfiguration(f"{name}: say 1 or 0, not {value!r}")
        return value in {"1", "true", "yes"}

    def choice(self, name: str, allowed: Sequence[str], default: str) -> str:
        value = self.text(name, default)
        if value not in allowed:
            raise BadConfiguration(f"{name}: say one of {', '.join(allowed)}, not {value!r}")
        return value

    def number(self, name: str, default: float, *, low: float) -> float:
        text = self.text(name, str(default))
        try:
            value = float(text)
        except ValueError:
            raise BadConfiguration(f"{name}: {text!r} is not a number") from None
        if not low <= value < 1e12:
            raise BadConfiguration(f"{name}: {text} is out of range, at least {low:g} is needed")
        return value

    def url(self, name: str, default: str = "") -> str:
        value = (self.text(name, default) if default else self.required(name)).rstrip("/")
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise BadConfiguration(f"{name}: {value!r} is not an http(s) address")
        return value
