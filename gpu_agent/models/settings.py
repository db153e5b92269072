"""What the operator of a GPU host decides about model files, from the environment and the command line."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from gpu_agent.config import MEGABYTE, BadConfiguration
from gpu_agent.models.signing import Credentials

# Hosts of model files that want a token, and the variable people know it by.
KNOWN_TOKENS = {"huggingface.co": "HF_TOKEN", "civitai.com": "CIVITAI_TOKEN"}
BITS = 8


@dataclass(frozen=True, slots=True)
class Settings:
    """Of one host; agents on it share one models folder."""

    models_dir: Path
    site_url: str  # "" = the manifest comes from a file
    agent_token: str = field(repr=False)
    share_dir: Path | None  # the network drive
    store_url: str  # https://endpoint/bucket/prefix, perhaps with a signed query; "" = none
    store_region: str
    store_credentials: Credentials | None = field(repr=False)
    bytes_per_second: float | None  # None = as fast as it goes
    disk_floor_bytes: int
    plain_http: bool  # sources may be http://
    tokens: Mapping[str, str] = field(repr=False)  # host → bearer token


def load(options: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> Settings:
    """Read `options` (given on the command line, by variable) over the environment. BadConfiguration."""
    values = {**environ, **{name: value for name, value in options.items() if value}}

    def text(name: str, default: str = "") -> str:
        return values.get(name, "").strip() or default

    comfyui_dir = text("COMFYUI_DIR")
    models_dir = text("MODELS_DIR", f"{comfyui_dir}/models" if comfyui_dir else "")
    if not models_dir:
        raise BadConfiguration("MODELS_DIR: say where ComfyUI's models are (or COMFYUI_DIR)")
    limit_mbit = _number(text("MODELS_LIMIT_MBIT", "0"), "MODELS_LIMIT_MBIT")
    share = text("MODELS_SHARE_DIR")
    return Settings(
        models_dir=_folder(models_dir, "MODELS_DIR"),
        site_url=_address(text("SITE_URL"), "SITE_URL"),
        agent_token=text("AGENT_TOKEN"),
        share_dir=_folder(share, "MODELS_SHARE_DIR") if share else None,
        store_url=_address(text("MODELS_STORE_URL"), "MODELS_STORE_URL"),
        store_region=text("MODELS_STORE_REGION", "us-east-1"),
        store_credentials=_credentials(
            text("MODELS_STORE_KEY_ID"), text("MODELS_STORE_SECRET"), text("MODELS_STORE_SESSION_TOKEN")
        ),
        bytes_per_second=limit_mbit * 1e6 / BITS if limit_mbit else None,
        disk_floor_bytes=int(_number(text("DISK_FLOOR_MB", "1024"), "DISK_FLOOR_MB") * MEGABYTE),
        plain_http=text("MODELS_PLAIN_HTTP", "0").lower() in {"1", "true", "yes", "on"},
        tokens=_tokens(text("MODELS_SOURCE_TOKENS"), values),
    )


def _folder(text: str, name: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_dir():
        raise BadConfiguration(f"{name}: {text} is not a folder; make or mount it first")
    return path.resolve()


def _number(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise BadConfiguration(f"{name}: {text!r} is not a number") from None
    if not 0 <= value < 1e9:
        raise BadConfiguration(f"{name}: {text} is out of range")
    return value


def _address(text: str, name: str) -> str:
    if not text:
        return ""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        # Not shown: a signed address is a key.
        raise BadConfiguration(f"{name} is not an http(s) address")
    return text.rstrip("/")


def _credentials(key_id: str, secret: str, session_token: str) -> Credentials | None:
    if bool(key_id) != bool(secret):
        raise BadConfiguration("MODELS_STORE_KEY_ID and MODELS_STORE_SECRET go together")
    return Credentials(key_id, secret, session_token) if key_id else None


def _tokens(pairs: str, values: Mapping[str, str]) -> dict[str, str]:
    tokens = {host: values[name].strip() for host, name in KNOWN_TOKENS.items() if values.get(name)}
    for pair in pairs.split():
        host, sign, token = pair.partition("=")
        if not (host and sign and token):
            raise BadConfiguration("MODELS_SOURCE_TOKENS: say host=token, several apart by spaces")
        tokens[host.lower()] = token
    return tokens
