"""What the site must know of a job type, as pure functions: parse, check, demand, form.

A job type is one folder beside this file and one dotted name in settings.JOB_TYPES.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a submission, said so that its author can mend it."""

    code: str  # snake_case, stable: unknown_node, missing_model, too_deep …
    message: str  # a sentence naming the fix
    node: str = ""  # node id, "" when it concerns the whole file
    node_type: str = ""
    field: str = ""  # input name


class Refusal(ValueError):
    """The submission was refused; `problems` says all that was found, never empty."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file of the student's (or an asset of the workshop's) a submission may name."""

    sha256: str
    name: str
    size_bytes: int
    width: int | None = None
    height: int | None = None
    frames: int | None = None


class AssumedUploads(dict[str, UploadedFile]):
    """Every file a workflow names, taken as uploaded: a picture of 1024×1024, 121 frames if it is a clip.
    For prices before anybody chose a file."""

    def get(self, name: str, default: Any = None) -> Any:
        clip = name.lower().endswith((".mp4", ".webm", ".mov", ".mkv", ".gif"))
        digest = sha256(name.encode()).hexdigest()
        return UploadedFile(digest, name, 0, width=1024, height=1024, frames=121 if clip else None)


def stored_name(upload: UploadedFile) -> str:
    """What a checked payload calls the file, and the agent stores it as: content hash and suffix."""
    suffix = re.search(r"\.[A-Za-z0-9]{1,8}$", upload.name)
    return upload.sha256 + (suffix[0].lower() if suffix else "")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a submission is checked against: the union of the agents' inventories and the rules."""

    node_definitions: Mapping[str, Any]  # ComfyUI /object_info shape; empty = no agent has told yet
    models: Mapping[str, Collection[str]] = field(default_factory=dict)  # folder → names present
    any_model: bool = False
    uploads: Mapping[str, UploadedFile] = field(default_factory=dict)  # name in the file → upload
    allowed_node_types: Collection[str] = ()  # by the workshop, beyond the stock list
    limits: Mapping[str, int] = field(default_factory=dict)  # overrides of the type's own defaults
    # node type → names of agents that would have it, were they connected; only for saying so
    agents_with: Mapping[str, Collection[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DemandLine:
    """Work of one node (or one share of it), in reference-GPU seconds."""

    label: str  # "Sample", "Decode", "Encode text" …
    node: str
    node_type: str
    gpu_seconds: float
    words: str  # the arithmetic: "20 steps × 2 passes × 0.031 s"
    loader: bool = False  # model loading: shown, never charged; gpu_seconds is then loading time
    sampler: bool = False
    understood: bool = True  # False: priced by the unknown-node rule, wider band


@dataclass(frozen=True, slots=True)
class Demand:
    """What a graph asks for. `gpu_seconds` sums the lines that are not loaders."""

    lines: tuple[DemandLine, ...]
    gpu_seconds: float
    loading_seconds: float
    vram_bytes: int
    model_key: str  # main model's file name, "" if none: affinity and calibration
    model_class: str  # row of the constants: sdxl, flux1, ltx2 …, "" if none
    band: float  # p90 ÷ p50 of run time, ≥ 1; wider when nodes are unknown
    summary: str  # "SDXL, 1024×1024, 20 steps"
    images: int = 0
    frames: int = 0
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True)
class Checked:
    """A submission that may be quoted: normalised, every file name and prefix rewritten."""

    payload: dict[str, Any]
    inputs: tuple[UploadedFile, ...]
    titles: Mapping[str, str]  # node id → title for people
    model_files: tuple[tuple[str, str], ...]  # (folder, name) it loads
    node_types: tuple[str, ...]
    outputs: tuple[str, ...] = ()  # ids of the nodes that give something out
    wires: Mapping[str, frozenset[str]] = field(default_factory=dict)  # node id → types linked into it
    unfamiliar: frozenset[str] = frozenset()  # ids of nodes beyond the stock list
    warnings: tuple[Problem, ...] = ()  # worth telling, no reason to refuse
    found: object = field(default=None, compare=False, repr=False)  # of the payload, for `demand` to reuse


@dataclass(frozen=True, slots=True)
class Place:
    """An input that names a model or a choice."""

    value: str = ""  # what it names, "" where another node feeds it or there is no such input
    folder: str = ""  # of models, "" for a plain choice
    size_bytes: int | None = None  # of such a model, None where nobody can tell
    exact: bool = False  # the published file's size, not a guess from its name
    choices: tuple[str, ...] = ()  # what is here, sorted; empty where anything goes


@dataclass(frozen=True, slots=True)
class Change:
    """One input of a checked payload, set to another value."""

    node: str
    input: str
    value: Any


@dataclass(frozen=True, slots=True)
class Variant:
    """A payload somebody might want instead. `words` complete "cheaper with …"."""

    words: str
    changes: tuple[Change, ...]


class JobType(Protocol):
    """The site half of a job type. All methods are pure and bounded in time and memory."""

    name: str

    def parse(self, body: bytes) -> dict[str, Any]:
        """Strictly parse a submitted file. Raises `Refusal`."""
        ...

    def accept(self, decoded: dict[str, Any]) -> dict[str, Any]:
        """The same of a file that came as decoded JSON, by a decoder that refuses what is not strictly JSON
        (twice the same key, NaN, NUL, half a surrogate pair). Raises `Refusal`."""
        ...

    def check(self, payload: dict[str, Any], around: Surroundings) -> Checked:
        """Check structure, allow-list, values and models; rewrite input file names to
        `<sha256><suffix>`. Raises `Refusal`."""
        ...

    def demand(self, checked: Checked) -> Demand:
        """Estimate the work. Never raises for a checked payload."""
        ...

    def bind(self, payload: dict[str, Any], *, output_prefix: str) -> dict[str, Any]:
        """A copy of a checked payload whose outputs all go below `output_prefix` (one per attempt:
        a cached rerun would otherwise name files that are gone)."""
        ...

    def cheaper(self, checked: Checked, around: Surroundings) -> tuple[Variant, ...]:
        """Small changes likely to cost less, a handful, which would pass `check`. Not priced."""
        ...

    def changed(self, checked: Checked, variant: Variant) -> Checked:
        """The submission with a variant's changes, good for `demand`; never for running unchecked."""
        ...

    def requirements(self, checked: Checked) -> list[dict[str, Any]]:
        """What is known of the models it loads: [{folder, name, size_bytes, licence, commercial}]; size 0 and
        no licence where nothing is."""
        ...

    def form(self, payload: dict[str, Any], around: Surroundings) -> list[dict[str, Any]]:
        """Fields one would expose of this payload, proposed: [{name, node, input, label, help, kind, minimum,
        maximum, step, default, choices, also}]; see jobs.job_types.comfyui.form for what they mean."""
        ...

    def fits(self, form: Sequence[Mapping[str, Any]], payload: dict[str, Any]) -> None:
        """Raises `Refusal` unless the form fits the payload."""
        ...

    def fill(
        self, payload: dict[str, Any], form: Sequence[Mapping[str, Any]], values: Mapping[str, Any]
    ) -> dict[str, Any]:
        """A copy of the payload with these values in the form's fields. Strict: raises `Refusal` whose
        problems name fields."""
        ...

    def editable(self, payload: dict[str, Any], around: Surroundings) -> dict[str, Any]:
        """The payload in the form whose inputs a template or a swap can name. Raises `Refusal`."""
        ...

    def place(self, payload: dict[str, Any], node: str, field: str, around: Surroundings) -> Place:
        """What an input of an editable payload names, and what could stand there here and now."""
        ...
