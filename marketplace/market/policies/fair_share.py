"""Fair turns: who used less GPU time goes first."""

from marketplace.market.policies.base import (
    CLASS_DEMO,
    BasePolicy,
    JobFacts,
    StudentFacts,
    arrival_ms,
    fair_ms,
    gettext_noop,
    student_class,
)

DEFAULT_PHI = 30.0


class FairShare(BasePolicy):
    """Who has used less GPU time than the class goes ahead; who has used more lets others pass.

    Your place in line is the moment your job joined it, moved back by half a minute (the slider's setting)
    for every GPU-second that you have used above the class's mean, or forward for every second below. So one
    long video and twenty pictures count the same when they took the same time. All pay the base price.
    """

    name = "fair_share"
    rule = gettext_noop("Whoever has used less GPU time in this class goes first.")
    needs_student = True

    def __init__(self, phi: float = DEFAULT_PHI) -> None:
        self.phi = phi

    def key(self, job: JobFacts, student: StudentFacts, now_ms: int) -> tuple[int, int]:
        queue_class = student_class(job)
        return queue_class, arrival_ms(job) + (0 if queue_class == CLASS_DEMO else fair_ms(self.phi, student))
