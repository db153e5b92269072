"""First come, first served."""

from marketplace.market.policies.base import (
    BasePolicy,
    JobFacts,
    StudentFacts,
    arrival_ms,
    gettext_noop,
    student_class,
)


class Fifo(BasePolicy):
    """Jobs start in the order in which they were sent.

    Your place in line is the moment your job joined it. Nothing moves you up or down; all pay the base
    price. Without credits you queue as if you had joined half an hour later.
    """

    name = "fifo"
    rule = gettext_noop("Jobs start in the order in which they were sent.")

    def key(self, job: JobFacts, student: StudentFacts, now_ms: int) -> tuple[int, int]:
        return student_class(job), arrival_ms(job)
