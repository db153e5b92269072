"""`python -m gpu_agent.simulator`: a ComfyUI stand-in with a simulated GPU."""

import argparse
import gzip
import json
import os
import sys
from pathlib import Path
from typing import Any

from gpu_agent.simulator.misbehaviour import MISBEHAVIOURS, Misbehaviour, named
from gpu_agent.simulator.options import CURRENT_VERSION, GIB, OLD_VERSION, Options
from gpu_agent.simulator.server import serve

STRUCK = ".misbehaved"


def load_definitions(path: Path) -> dict[str, Any]:
    """Node definitions from a JSON file, gzipped or not. Raises OSError, ValueError."""
    body = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    definitions = json.loads(body)
    if not isinstance(definitions, dict):
        raise ValueError(f"{path} holds no object of node definitions")
    return definitions


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gpu_agent.simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8188)
    parser.add_argument("--folder", type=Path, required=True, help="holds input, output and temp")
    parser.add_argument(
        "--speed",
        type=float,
        default=float(os.environ.get("SIMULATOR_SPEED") or 1.0),
        help="relative to the reference GPU; default SIMULATOR_SPEED or 1",
    )
    parser.add_argument(
        "--node-definitions", type=Path, metavar="FILE", help="/object_info as .json or .json.gz"
    )
    parser.add_argument("--vram-gib", type=float, default=24.0)
    parser.add_argument("--any-model", action="store_true", help="pretend that every model file is there")
    parser.add_argument("--test-nodes", action="store_true", help="offer nodes that sleep, fail or block")
    parser.add_argument("--version", choices=[CURRENT_VERSION, OLD_VERSION], default=CURRENT_VERSION)
    parser.add_argument(
        "--misbehave", choices=sorted(filter(None, MISBEHAVIOURS)), metavar="NAME", default=""
    )
    parser.add_argument(
        "--misbehave-once", action="store_true", help="behave when started again on the same folder"
    )
    return parser


def _misbehaviour(name: str, folder: Path, *, once: bool) -> Misbehaviour:
    if not name or not once:
        return named(name)
    if (folder / STRUCK).exists():
        return Misbehaviour()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STRUCK).touch()
    return named(name)


def main() -> int:
    parser = _parser()
    told = parser.parse_args()
    if told.speed <= 0 or told.vram_gib <= 0:
        parser.error("--speed and --vram-gib must be above 0")
    try:
        definitions = load_definitions(told.node_definitions) if told.node_definitions else None
    except (OSError, ValueError) as error:
        parser.error(f"--node-definitions: {error}")
    options = Options(
        folder=told.folder,
        speed=told.speed,
        version=told.version,
        vram_bytes=round(told.vram_gib * GIB),
        any_model=told.any_model,
        test_nodes=told.test_nodes,
        definitions=definitions,
        misbehaviour=_misbehaviour(told.misbehave, told.folder, once=told.misbehave_once),
    )
    serve(options, told.host, told.port)
    return 0


if __name__ == "__main__":
    sys.exit(main())
