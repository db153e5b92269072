"""What agent and site say to each other: frozen dataclasses and their JSON.

Standard library only; the one module of the agent the site may import. Every message carries
`protocol` (this file's version) and, once the handshake gave it, `timeline` (raised when the site
is restored from a snapshot, so that older agents' late reports are refused).

Durations are milliseconds from the sender's monotonic clock; no message carries a wall-clock time
that a rule depends on.
"""

import json
import types
import typing
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from enum import StrEnum
from typing import Any, ClassVar, Self

from gpu_agent.protocol.phases import Cause, Outcome, Phase

PROTOCOL_VERSION = 1
DELIVERY_FUNCTION = "gpu_agent.worker.take_delivery"
HEARTBEAT_SECONDS = 5
LEASE_SECONDS = 30
PREFETCH_MS = 4_000  # so long before its running job ends an agent says so and gets the next
MAX_MESSAGE_BYTES = 32 * 1024 * 1024  # /object_info with hundreds of custom nodes takes several MB


class MalformedMessage(ValueError):
    """The message does not have the shape this protocol version prescribes."""


class Message:
    """Base of all messages: `to_json`/`from_json` and strict decoding.

    Unknown keys are ignored (a newer peer may say more); missing or mistyped ones raise
    `MalformedMessage` naming the field.
    """

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_dict(cls, data: object) -> Self:
        return typing.cast(Self, _decode(cls, data, cls.__name__))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        if len(text) > MAX_MESSAGE_BYTES:
            raise MalformedMessage(f"{cls.__name__}: longer than {MAX_MESSAGE_BYTES} bytes")
        try:
            data = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise MalformedMessage(f"{cls.__name__}: not JSON: {error}") from error
        return cls.from_dict(data)


# --- joining ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Handshake(Message):
    """Agent → site, POST /agent/v1/handshake. First words after start and after each long gap."""

    protocol: int
    agent_version: str
    hostname: str
    simulated: bool
    speed_factor: float  # speed against the reference GPU; 1.0 = reference, 20 = twenty times as fast


@dataclass(frozen=True, slots=True)
class Welcome(Message):
    """Site → agent: who you are and where your deliveries come from."""

    protocol: int
    timeline: int
    agent: str  # 32 hex digits
    name: str
    redis_url: str  # carries the ACL user, not the password: that is the agent's token
    queue: str  # "agent-<hex>"
    heartbeat_seconds: float
    lease_seconds: float
    workshop: str  # display name, "" when the agent serves any workshop


@dataclass(frozen=True, slots=True)
class DeviceState(Message):
    """One GPU as NVML (or, chosen explicitly, the simulator or ComfyUI) shows it now."""

    uuid: str
    name: str
    vram_total_bytes: int
    vram_free_bytes: int
    utilization_percent: float | None = None
    temperature_celsius: float | None = None
    power_watts: float | None = None
    simulated: bool = False
    lost: bool = False


@dataclass(frozen=True, slots=True)
class ModelFile(Message):
    """A model file present on the host."""

    folder: str  # ComfyUI folder: checkpoints, loras, vae …
    name: str
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Inventory(Message):
    """Agent → site, PUT /agent/v1/inventory: what this host can run. `node_definitions` is ComfyUI's
    /object_info, sent only when its digest is new to the site (else null)."""

    protocol: int
    timeline: int
    comfyui_version: str
    node_definitions_sha256: str
    node_definitions: dict[str, Any] | None
    models: tuple[ModelFile, ...]
    devices: tuple[DeviceState, ...]
    any_model: bool = False  # the simulator can pretend to have any model
    job_types: tuple[str, ...] = ("comfyui",)


# --- attempts --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Delivery(Message):
    """The RQ job's only argument: an attempt was assigned to this agent. Doubles are dropped by
    (attempt, token)."""

    protocol: int
    timeline: int
    attempt: int
    token: int
    job: str


@dataclass(frozen=True, slots=True)
class InputFile(Message):
    """A file the job reads; fetched from GET /agent/v1/uploads/<sha256>."""

    sha256: str
    name: str  # the name its node refers to, as rewritten by the site: one path segment
    size_bytes: int


@dataclass(frozen=True, slots=True)
class NodeWork(Message):
    """What the quote says of one node: drives the overall percent and the loading arithmetic."""

    title: str
    seconds: float  # expected on the reference GPU
    loader: bool = False  # its whole time is model loading
    sampler: bool = False  # (executing → first tick) − median tick is model loading


@dataclass(frozen=True, slots=True)
class JobSpec(Message):
    """Site → agent, GET /agent/v1/attempts/<attempt>/spec?token=: all that is needed to run it."""

    protocol: int
    timeline: int
    attempt: int
    token: int
    job: str
    prompt_id: str  # canonical lowercase UUID, one per attempt
    job_type: str
    payload: dict[str, Any]  # for comfyui: the API-format graph, file names already rewritten
    inputs: tuple[InputFile, ...]
    nodes: dict[str, NodeWork]
    vram_bytes: int  # predicted peak
    expected_ms: int  # charged time expected on the reference GPU
    stop_after_ms: int  # charged time on the reference GPU after which the job is over budget
    timeout_ms: int  # wall time in ComfyUI after which the job has timed out
    output_prefix: str  # per-job sub-folder the site wrote into every filename_prefix
    preview_max_pixels: int = 512
    previews_per_second: float = 4.0


@dataclass(frozen=True, slots=True)
class ArtifactRef(Message):
    """An output stored by PUT /agent/v1/attempts/<attempt>/artifacts/<sha256>."""

    sha256: str
    name: str
    media_type: str
    size_bytes: int
    kind: str  # image | video | audio | text | model | file
    node: str


@dataclass(frozen=True, slots=True)
class Fault(Message):
    """Why an attempt failed or was handed back, for people. Never a traceback or a host path."""

    cause: Cause
    message: str
    node: str = ""
    node_type: str = ""
    needed_bytes: int | None = None
    available_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Report(Message):
    """Agent → site, POST /agent/v1/reports: one step in an attempt's life, journalled until answered.

    `sequence` rises by one within an attempt; a report at or below the last applied changes nothing.
    Times are so far (phase reports) or final (phase = finished, then `outcome` is set).
    """

    protocol: int
    timeline: int
    attempt: int
    token: int
    sequence: int
    phase: Phase
    executing_ms: int = 0  # ComfyUI's execution_start → now or end, on this device
    loading_ms: int = 0  # of that, model loading
    charged_ms: int = 0  # (executing − loading) × speed factor: reference GPU time
    vram_peak_bytes: int | None = None
    outcome: Outcome | None = None
    fault: Fault | None = None
    artifacts: tuple[ArtifactRef, ...] = ()
    cached: bool = False  # every node came from ComfyUI's cache: near-zero time is legitimate


@dataclass(frozen=True, slots=True)
class ReportAnswer(Message):
    """Site → agent. `accepted` false means: known to be late or superseded, stop and forget."""

    accepted: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AttemptBeat(Message):
    """One attempt in hand, as heartbeats list it."""

    attempt: int
    token: int
    phase: Phase
    executing_ms: int = 0
    loading_ms: int = 0
    charged_ms: int = 0
    remaining_ms: int | None = None  # estimate; lets the site hand over the next job in time


@dataclass(frozen=True, slots=True)
class Heartbeat(Message):
    """Agent → site, POST /agent/v1/heartbeat, every `heartbeat_seconds`: renews all leases in hand."""

    protocol: int
    timeline: int
    attempts: tuple[AttemptBeat, ...]
    devices: tuple[DeviceState, ...]
    comfyui_ready: bool
    draining: bool = False
    resident_models: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()  # e.g. "ComfyUI listens beyond loopback"


class CommandKind(StrEnum):
    """What the site can ask of an agent."""

    CANCEL = "cancel"  # stop this attempt: its owner or staff cancelled it, or it ran over budget
    PREEMPT = "preempt"  # stop it: the job goes back to the queue
    DRAIN = "drain"  # take nothing new
    RESUME = "resume"
    CHECK_QUEUE = "check_queue"  # a delivery waits: look now


@dataclass(frozen=True, slots=True)
class Command(Message):
    """Site → agent, over the WebSocket and again with every heartbeat answer until it took effect."""

    kind: CommandKind
    attempt: int = 0
    token: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class HeartbeatAnswer(Message):
    """`superseded`: attempts whose lease is no longer this agent's; stop and forget them."""

    timeline: int
    commands: tuple[Command, ...] = ()
    superseded: tuple[int, ...] = ()
    inventory_wanted: bool = False


@dataclass(frozen=True, slots=True)
class Progress(Message):
    """Agent → site over /ws/agent, at most 4 a second per attempt; latest wins, never replayed."""

    protocol: int
    timeline: int
    attempt: int
    token: int
    phase: Phase
    percent: float  # of the whole job, 0…100, from the quote's node weights
    node: str = ""
    node_title: str = ""
    step: int | None = None
    steps: int | None = None
    stage: int | None = None  # "stage 3 of 7": nodes with work, in order
    stages: int | None = None
    remaining_ms: int | None = None
    executing_ms: int = 0
    charged_ms: int = 0
    note: str = ""  # e.g. "loading ltx-2, 12 of 25 GB"
    preview_media_type: str = ""  # image/jpeg | image/png when a preview rides along
    preview_base64: str = ""


@dataclass(frozen=True, slots=True)
class Refused(Message):
    """Body of every 4xx/5xx the agent API answers."""

    code: str
    message: str
    field: str = ""
    supported: tuple[int, ...] = (PROTOCOL_VERSION,)


def queue_name(agent: str) -> str:
    """The agent's RQ queue, by its hex id: a name could be another's prefix."""
    return f"agent-{agent}"


def delivery_id(agent: str, attempt: int, count: int) -> str:
    """RQ job id of the count-th delivery of an attempt; the agent's ACL covers `<agent>-*`."""
    return f"{agent}-{attempt}-{count}"


# --- decoding --------------------------------------------------------------------------------


def _refuse_constant(name: str) -> object:
    raise MalformedMessage(f"{name} is not allowed")


def _decode(kind: Any, value: object, where: str) -> object:
    origin = typing.get_origin(kind)
    if kind is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _decode_union(kind, value, where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise MalformedMessage(f"{where}: a list is needed")
        inner = typing.get_args(kind)[0]
        return tuple(_decode(inner, item, f"{where}[{n}]") for n, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise MalformedMessage(f"{where}: an object is needed")
        inner = typing.get_args(kind)[1]
        return {str(key): _decode(inner, item, f"{where}.{key}") for key, item in value.items()}
    if is_dataclass(kind):
        return _decode_dataclass(kind, value, where)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        try:
            return kind(typing.cast(str, value))
        except ValueError:
            raise MalformedMessage(f"{where}: {value!r} is not one of {', '.join(kind)}") from None
    return _decode_scalar(kind, value, where)


def _decode_union(kind: Any, value: object, where: str) -> object:
    members = [member for member in typing.get_args(kind) if member is not type(None)]
    if value is None:
        return None
    return _decode(members[0], value, where)


def _decode_dataclass(kind: Any, value: object, where: str) -> object:
    if not isinstance(value, dict):
        raise MalformedMessage(f"{where}: an object is needed")
    hints = typing.get_type_hints(kind)
    given: dict[str, object] = {}
    for item in fields(kind):
        if item.name in value:
            given[item.name] = _decode(hints[item.name], value[item.name], f"{where}.{item.name}")
        elif item.default is MISSING and item.default_factory is MISSING:
            raise MalformedMessage(f"{where}.{item.name}: missing")
    return kind(**given)


def _decode_scalar(kind: Any, value: object, where: str) -> object:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, bool) is not (kind is bool) or not isinstance(value, kind):
        raise MalformedMessage(f"{where}: {kind.__name__} is needed, not {type(value).__name__}")
    if kind is int and abs(typing.cast(int, value)) > 2**63 - 1:
        raise MalformedMessage(f"{where}: out of range")
    return value
