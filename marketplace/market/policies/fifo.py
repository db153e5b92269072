"""First come, first served."""

from marketplace.market.policies.base import CLASS_DEMO, CLASS_PAID, JobFacts, StudentFacts


class Fifo:
    """Jobs start in the order in which they were sent. Bids count for nothing; all pay the base price."""

    name = "fifo"
    rule = "Jobs start in the order in which they were sent."

    def key(self, job: JobFacts, student: StudentFacts, now_ms: int) -> tuple[int, int]:
        return (CLASS_DEMO if job.demo else CLASS_PAID), job.joined_ms

    def price(self, job: JobFacts, runner_up_key_ms: int | None) -> float:
        return 1.0

    def preempts(self, job: JobFacts) -> bool:
        return job.demo
