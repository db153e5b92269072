"""What to say of nodes and models that no GPU here has: who would have them, how large, where they go."""

from collections.abc import Collection

from jobs.job_types.base import Problem
from jobs.job_types.comfyui import known_models

MAX_AGENTS = 3  # named in one sentence
_GB, _MB = 1e9, 1e6


def unknown_node(node: str, kind: str, agents: Collection[str] = (), package: str = "") -> Problem:
    """A node without a definition. `agents`: those that would have it, were they connected."""
    source = f" (package {package})" if package and package != "comfy-core" else ""
    said = f"{kind}{source} (node {node})"
    if not agents:
        message = f"{said} is not installed on any GPU here. Replace or remove it, or ask for it by name."
        return Problem("unknown_node", message, node, kind)
    names = sorted(agents)
    shown = ", ".join(names[:MAX_AGENTS]) + " and others" * (len(names) > MAX_AGENTS)
    verb = "has it, but is" if len(names) == 1 else "have it, but are"
    return Problem("unknown_node", f"{said} can't run now: {shown} {verb} not connected.", node, kind)


def missing_model(node: str, kind: str, field: str, name: str, folder: str) -> Problem:
    """A model file that isn't here. `folder` is "" where only the name tells that it is a model."""
    found = known_models.known(folder, name)
    size = f"{size_words(found.size_bytes)}, " if found else ""
    where = found.folder if found else folder
    place = f"models/{where}/" if where else "the folder of its kind below models/"
    message = f"Missing model {name[:120]} ({size}belongs in {place}): {kind} (node {node}) loads it."
    return Problem("missing_model", message, node, kind, field)


def size_words(size_bytes: float) -> str:
    """A file's size as people say it: 6.9 GB, 67 MB."""
    if size_bytes >= _GB:
        return f"{size_bytes / _GB:.1f} GB"
    return f"{max(1, round(size_bytes / _MB))} MB"
