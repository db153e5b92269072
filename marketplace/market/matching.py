"""Which job may go to which agent, and when an agent has room. PURE: no clock, no rows."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gpu_agent.protocol import messages

GIB = 1024**3
# GiB sizes cards come in. A job's class is the smallest that holds it, so one index range holds the jobs
# between two sizes.
VRAM_CLASSES = (4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 144, 192, 288, 1024)
AFFINITY_MS = 120_000  # a resident model is worth this much of the line
PREFETCH_MS = messages.PREFETCH_MS  # an agent takes its next job this long before the running one ends
MOST_IN_HAND = 4  # outputs that can't be stored must not pile up on a host
BOUNCE_MARGIN_BYTES = GIB // 2


@dataclass(frozen=True, slots=True)
class InHand:
    """One attempt an agent holds."""

    status: str  # of its job
    taken: bool  # the agent has acknowledged it
    remaining_ms: float  # till its GPU work ends


@dataclass(frozen=True, slots=True)
class Candidate:
    """A waiting job near the head of the line."""

    job_id: object
    student_id: int
    model_key: str
    queue_class: int
    queue_key_ms: int
    model_files: Sequence[Sequence[str]] = ()  # [folder, name] it loads
    node_types: Sequence[str] = ()
    workshop_id: int = 0
    bid: int = 1
    unpaid: bool = False


@dataclass(frozen=True, slots=True)
class Abilities:
    """What one agent can run."""

    vram_total_bytes: int
    node_types: Collection[str] = ()
    model_files: Mapping[str, Collection[str]] = field(default_factory=dict)
    any_model: bool = False
    resident_models: Sequence[str] = ()


def vram_class(vram_bytes: int) -> int:
    """The smallest class, in GiB, that holds `vram_bytes`."""
    return next((size for size in VRAM_CLASSES if vram_bytes <= size * GIB), VRAM_CLASSES[-1])


def classes_within(vram_total_bytes: int) -> list[int]:
    """Classes that may hold a job fitting a device of this size: cards report a little less than their
    name says, so the class above is searched too and each job compared by its bytes."""
    return [
        size
        for size, below in zip(VRAM_CLASSES, (0, *VRAM_CLASSES), strict=False)
        if below * GIB < vram_total_bytes
    ]


def has_room(in_hand: Sequence[InHand]) -> bool:
    """Nothing in hand, or one taken job about to end and no other. Those whose outputs are being stored
    have left the GPU and don't count."""
    working = [one for one in in_hand if one.status != "storing"]
    if len(in_hand) >= MOST_IN_HAND or len(working) > 1:
        return False
    if not working:
        return True
    (only,) = working
    # One that waits for a dead agent isn't about to end, however short it is.
    return only.taken and only.remaining_ms <= PREFETCH_MS


def lacks(job: Candidate, agent: Abilities) -> str:
    """What the agent has not got for the job, in words; "" when nothing is missing."""
    for node_type in job.node_types:
        if node_type not in agent.node_types:
            return f"the node {node_type}"
    if agent.any_model:
        return ""
    for folder, name in job.model_files:
        if name not in agent.model_files.get(folder, ()):
            return f"the model {name}"
    return ""


def ranked(candidates: Iterable[Candidate], agent: Abilities) -> list[Candidate]:
    """Those the agent can run, best first: by class, then key, a resident model counting as earlier."""
    runnable = [job for job in candidates if not lacks(job, agent)]
    return sorted(runnable, key=lambda job: _rank(job, agent.resident_models))


def runner_up(ordered: Sequence[Candidate], winner: Candidate) -> Candidate | None:
    """Of `ordered`, best first, the next behind the winner that is another student's of its workshop; it
    alone may set the winner's price. Those before the winner don't count: somebody else is taking them."""
    behind = ordered[ordered.index(winner) + 1 :]
    return next(
        (
            job
            for job in behind
            if job.student_id != winner.student_id and job.workshop_id == winner.workshop_id
        ),
        None,
    )


def runner_up_key_ms(
    ordered: Sequence[Candidate], winner: Candidate, resident_models: Sequence[str]
) -> int | None:
    """The runner-up's key as it stands beside the winner's on this GPU, for `Policy.price`; None without one.

    A model that is loaded already counts for either as it did in the choice: were bare keys compared, a
    higher bid would meet other neighbours, and so another price.
    """
    other = runner_up(ordered, winner)
    if other is None or other.queue_class != winner.queue_class:
        return None
    return (
        other.queue_key_ms - _head_start_ms(other, resident_models) + _head_start_ms(winner, resident_models)
    )


def _rank(job: Candidate, resident_models: Sequence[str]) -> tuple[int, int, str]:
    return job.queue_class, job.queue_key_ms - _head_start_ms(job, resident_models), str(job.job_id)


def _head_start_ms(job: Candidate, resident_models: Sequence[str]) -> int:
    return AFFINITY_MS if job.model_key and job.model_key in resident_models else 0
