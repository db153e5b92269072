"""What a policy decides: a job's place in line, its price, and whom it may stop. PURE.

The dispatcher always takes the smallest (class, key) that fits; a policy only writes that pair once, when a
job enters the line. Keys are milliseconds on the market's clock, so all of them age together.
"""

from dataclasses import dataclass
from typing import Protocol

CLASS_DEMO, CLASS_PAID, CLASS_UNPAID = 0, 1, 2


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What a policy may know of a job."""

    joined_ms: int  # when it joined the line, epoch milliseconds
    gpu_seconds: float  # expected on the reference GPU
    bid: int = 1  # most its owner pays, as a multiple of the base price
    demo: bool = False  # an instructor's, paid by the workshop's purse
    unpaid: bool = False  # its owner is out of credits


@dataclass(frozen=True, slots=True)
class StudentFacts:
    """What a policy may know of the job's owner."""

    gpu_seconds: float = 0.0  # used in this session
    class_mean_gpu_seconds: float = 0.0
    jobs_done: int = 0


class Policy(Protocol):
    """One mode of the queue. `rule` is the sentence students read."""

    name: str
    rule: str

    def key(self, job: JobFacts, student: StudentFacts, now_ms: int) -> tuple[int, int]:
        """(class, key in ms): smallest first."""
        ...

    def price(self, job: JobFacts, runner_up_key_ms: int | None) -> float:
        """The multiple of the base price the job pays, at least 1, at most its bid. `runner_up_key_ms` is
        the key of the next job of another student that would have fitted; None when there is none."""
        ...

    def preempts(self, job: JobFacts) -> bool:
        """Whether the job may stop a running one."""
        ...
