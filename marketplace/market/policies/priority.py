"""Four classes, each in order of arrival."""

from marketplace.market.policies.base import (
    CLASS_DEMO,
    BasePolicy,
    JobFacts,
    StudentFacts,
    arrival_ms,
    gettext_noop,
)

CLASS_STAFF, CLASS_STUDENT, CLASS_LAST = 1, 2, 3


class Priority(BasePolicy):
    """Demos first, then the instructors' own jobs, then students' jobs, then jobs without credits.

    Within each of these four classes jobs start in the order in which they were sent. The site decides the
    class: nobody can write a better one on a job. All pay the base price.
    """

    name = "priority"
    needs_staff = True
    rule = gettext_noop("Instructors’ jobs start first; students’ jobs follow in the order they were sent.")

    def key(self, job: JobFacts, student: StudentFacts, now_ms: int) -> tuple[int, int]:
        if job.demo:
            return CLASS_DEMO, arrival_ms(job)
        if job.staff:
            return CLASS_STAFF, arrival_ms(job)
        return (CLASS_LAST if job.unpaid else CLASS_STUDENT), arrival_ms(job)
