"""What a policy decides: a job's place in line, its price, and whom it may stop. PURE.

The dispatcher always takes the smallest (class, key) that fits; a policy only writes that pair once, when a
job enters the line. Keys are milliseconds on the market's clock, so all of them age together.
"""

from dataclasses import dataclass
from typing import Protocol

CLASS_DEMO, CLASS_PAID, CLASS_UNPAID = 0, 1, 2
BIDS = (1, 2, 4)  # the ladder: standard, fast, express
UNPAID_LATER_MS = 1_800_000  # a job without credits queues as if it had joined half an hour later


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What a policy may know of a job."""

    joined_ms: int  # when it joined the line, epoch milliseconds
    gpu_seconds: float  # expected on the reference GPU
    bid: int = 1  # most its owner pays, as a multiple of the base price
    demo: bool = False  # an instructor's, paid by the workshop's purse
    unpaid: bool = False  # its owner is out of credits
    staff: bool = False  # its owner looks after the class
    # What the fairness slider added when it joined; for `price`, since `key` asks the student's facts.
    fair_ms: int = 0


@dataclass(frozen=True, slots=True)
class StudentFacts:
    """What a policy may know of the job's owner."""

    gpu_seconds: float = 0.0  # used in this session
    class_mean_gpu_seconds: float = 0.0
    jobs_done: int = 0
    jobs_in_line: int = 0  # waiting or on a GPU, this one not counted


class Policy(Protocol):
    """One mode of the queue. `rule` is the sentence students read."""

    name: str
    rule: str
    uses_bids: bool  # otherwise every bid is 1
    needs_student: bool  # otherwise keys don't depend on what the student has used
    needs_staff: bool  # otherwise they don't depend on whether the owner looks after the class

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


class BasePolicy:
    """What the modes have in common: all pay the base price, bids count for nothing, and only an
    instructor's demo may stop a running job."""

    uses_bids = False
    needs_student = False
    needs_staff = False

    def price(self, job: JobFacts, runner_up_key_ms: int | None) -> float:
        return 1.0

    def preempts(self, job: JobFacts) -> bool:
        return job.demo


def student_class(job: JobFacts) -> int:
    """Demos are a class before all others; the rest are one class, where keys alone decide."""
    return CLASS_DEMO if job.demo else CLASS_PAID


def arrival_ms(job: JobFacts) -> int:
    """When the job counts as having joined: later by half an hour without credits."""
    return job.joined_ms + (UNPAID_LATER_MS if job.unpaid else 0)


def fair_ms(phi: float, student: StudentFacts) -> int:
    """phi seconds later for every GPU-second the student has used above the class's mean, sooner below."""
    return round(1000 * phi * (student.gpu_seconds - student.class_mean_gpu_seconds))


def gettext_noop(words: str) -> str:
    """Marks words for translation without importing a framework."""
    return words
