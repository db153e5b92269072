"""One job each, in turn."""

from marketplace.market.policies.base import (
    BasePolicy,
    JobFacts,
    StudentFacts,
    arrival_ms,
    gettext_noop,
    student_class,
)

# Longer than any line: no wait within a round outweighs a round.
ROUND_MS = 30 * 24 * 3600 * 1000


class RoundRobin(BasePolicy):
    """Everybody's first job before anybody's second, everybody's second before anybody's third.

    Your first job of the class belongs to round one, your second to round two, however long they are; within
    a round jobs start in the order in which they were sent. Jobs that are waiting or running count too, so
    sending many at once gains nothing. All pay the base price.
    """

    name = "round_robin"
    rule = gettext_noop("Everybody’s first job starts before anybody’s second, and so on.")
    needs_student = True

    def key(self, job: JobFacts, student: StudentFacts, now_ms: int) -> tuple[int, int]:
        turn = student.jobs_done + student.jobs_in_line
        return student_class(job), arrival_ms(job) + (0 if job.demo else turn * ROUND_MS)
