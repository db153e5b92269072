"""The words of a job's state: badge, timeline, and what a failure means, as ux/README.md lists them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from gpu_agent.protocol.phases import Outcome
from jobs.lifecycle import LOST
from jobs.models import TERMINAL, WAITING, Attempt, FailureCause, Job, Status
from marketplace.web import numbers


@dataclass(frozen=True, slots=True)
class Badge:
    """Tone (a class suffix, may be empty), icon of the sprite, and word: never a colour alone."""

    tone: str
    icon: str
    word: Promise | str


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the timeline. `state`: done, now, bad or next; `note`: a time, a name or nothing."""

    label: Promise | str
    state: str
    note: str = ""


BADGES = {
    Status.HELD_BACK: Badge("hold", "pause", gettext_lazy("Held back")),
    Status.QUEUED: Badge("", "clock", gettext_lazy("Queued")),
    Status.ASSIGNED: Badge("go", "target", gettext_lazy("Assigned")),
    Status.LOADING: Badge("go", "layers", gettext_lazy("Loading model")),
    Status.RUNNING: Badge("live", "play", gettext_lazy("Running")),
    Status.STORING: Badge("go", "store", gettext_lazy("Storing")),
    Status.SUCCEEDED: Badge("done", "check", gettext_lazy("Done")),
    Status.FAILED: Badge("bad", "stop", gettext_lazy("Failed")),
    Status.CANCELLED: Badge("", "ban", gettext_lazy("Cancelled")),
}
OUT_OF_MEMORY = Badge("bad", "memory", gettext_lazy("Out of memory"))
REQUEUED = Badge("hold", "retry", gettext_lazy("Requeued"))
RETRYING = Badge("hold", "unlink", gettext_lazy("Retrying"))

HEADLINES = {
    FailureCause.INVALID_WORKFLOW: gettext_lazy("ComfyUI would not take the workflow"),
    FailureCause.MISSING_MODEL: gettext_lazy("A model it needs is not on the device"),
    FailureCause.MISSING_NODE: gettext_lazy("A node it needs is not on the device"),
    FailureCause.OUT_OF_MEMORY: gettext_lazy("It didn’t fit in the device’s memory"),
    FailureCause.EXECUTION_ERROR: gettext_lazy("A node stopped with an error"),
    FailureCause.TIMED_OUT: gettext_lazy("It took too long and was stopped"),
    FailureCause.INFRASTRUCTURE: gettext_lazy("Our side failed, three times"),
    FailureCause.OVER_BUDGET: gettext_lazy("It used up what was set aside"),
}
WOULD_WORK = {
    FailureCause.INVALID_WORKFLOW: gettext_lazy(
        "Open it in ComfyUI, mend the node named above, and save it anew."
    ),
    FailureCause.MISSING_MODEL: gettext_lazy(
        "Choose another model in the loader, or ask for this one to be added."
    ),
    FailureCause.MISSING_NODE: gettext_lazy("Replace the node, or ask for it to be added."),
    FailureCause.OUT_OF_MEMORY: gettext_lazy(
        "A smaller size, fewer frames or a smaller batch needs less memory."
    ),
    FailureCause.EXECUTION_ERROR: gettext_lazy(
        "Check the inputs of the node named above, then run it again."
    ),
    FailureCause.TIMED_OUT: gettext_lazy("Fewer steps or frames would end in time."),
    FailureCause.INFRASTRUCTURE: gettext_lazy("Nothing is wrong with your workflow. Run it again."),
    FailureCause.OVER_BUDGET: gettext_lazy("Price it anew: fewer steps or frames stay within the price."),
}


def badge(job: Job, attempt: Attempt | None) -> Badge:
    """The badge of the job's state; `attempt` is its last one. A job that came back to the line says why."""
    if job.cause == FailureCause.OUT_OF_MEMORY:
        return OUT_OF_MEMORY
    if job.status == Status.QUEUED and attempt is not None and attempt.outcome:
        return RETRYING if _was_lost(attempt) else REQUEUED
    return BADGES[Status(job.status)]


def came_back(job: Job, attempt: Attempt | None) -> str:
    """Why a queued job is in line again; empty for one that never left it."""
    if job.status != Status.QUEUED or attempt is None or not attempt.outcome:
        return ""
    if attempt.outcome == Outcome.CANCELLED and job.wait_reason:
        return job.wait_reason  # it made room, and this says for whom
    if _was_lost(attempt):
        said = _("Lost contact with %(agent)s. You keep your place and pay nothing for the lost time.")
    else:
        said = _("%(agent)s handed it back. You keep your place and pay nothing for the lost time.")
    return said % {"agent": attempt.agent_name or _("the device")}


def timeline(job: Job, attempts: Sequence[Attempt]) -> list[Step]:
    """Six steps, of which one is now, or where it stopped."""
    last = attempts[-1] if attempts else None
    living = last if last and (not last.outcome or job.status in TERMINAL) else None
    reached = _reached(job, living)
    notes = _notes(job, living)
    steps = []
    for place, label in enumerate(_labels()):
        if job.status == Status.SUCCEEDED or place < reached:
            state = "done"
        elif place > reached:
            state = "next"
        else:
            state = "bad" if job.status in (Status.FAILED, Status.CANCELLED) else "now"
        steps.append(Step(label, state, notes[place] if state != "next" else ""))
    return steps


def _labels() -> list[str]:
    return [_("Set aside"), _("Queued"), _("Assigned"), _("Loading model"), _("Running"), _("Stored")]


def _reached(job: Job, attempt: Attempt | None) -> int:
    """Index of the step the job stands at or stopped at."""
    standing = {
        Status.HELD_BACK: 1, Status.QUEUED: 1, Status.ASSIGNED: 2, Status.LOADING: 3,
        Status.RUNNING: 4, Status.STORING: 5, Status.SUCCEEDED: 5,
    }  # fmt: skip
    if job.status in standing:
        return standing[Status(job.status)]
    if attempt is None:
        return 1
    if attempt.execution_started_at is None and not attempt.executing_ms:
        return 2
    return 4 if attempt.charged_ms or attempt.executing_ms > attempt.loading_ms else 3


def _notes(job: Job, attempt: Attempt | None) -> list[str]:
    notes = [_clock(job.created_at), "", "", "", "", _clock(job.finished_at)]
    if attempt is None:
        return notes
    notes[1] = numbers.duration((attempt.created_at - job.joined_at).total_seconds())
    notes[2] = attempt.agent_name
    # Times of steps that are over: one that goes on would be stale as soon as it is read.
    if job.status not in (*WAITING, Status.ASSIGNED, Status.LOADING) and attempt.executing_ms:
        notes[3] = _("%(time)s, free") % {"time": numbers.duration(attempt.loading_ms / 1000)}
    if job.status in (Status.STORING, *TERMINAL) and attempt.executing_ms:
        notes[4] = numbers.duration(max(attempt.executing_ms - attempt.loading_ms, 0) / 1000)
    return notes


def _clock(at: datetime | None) -> str:
    return f"{timezone.localtime(at):%H:%M:%S}" if at else ""


def _was_lost(attempt: Attempt) -> bool:
    return attempt.outcome == LOST or (
        attempt.outcome == Outcome.FAILED and attempt.cause == FailureCause.INFRASTRUCTURE
    )


# What staff and the clock did, as the class page tells it; an action without words is told by its name.
ACTIONS: dict[str, Promise] = {
    "agent.drain": gettext_lazy("drained a GPU"),
    "agent.pause": gettext_lazy("paused a GPU"),
    "agent.resume": gettext_lazy("let a GPU take jobs again"),
    "agent.unpause": gettext_lazy("let a GPU take jobs again"),
    "lever.demo": gettext_lazy("ran a demo"),
    "lever.move": gettext_lazy("moved a job"),
    "lever.stop": gettext_lazy("stopped a job"),
    "lever.freeze_bids": gettext_lazy("froze bids"),
    "lever.thaw_bids": gettext_lazy("let bids change again"),
    "lever.template_pause": gettext_lazy("paused a template"),
    "lever.template_resume": gettext_lazy("resumed a template"),
    "lever.pause": gettext_lazy("paused new starts"),
    "lever.resume": gettext_lazy("resumed the queue"),
    "policy.switch": gettext_lazy("switched how to queue"),
    "session.base_price": gettext_lazy("fixed the base price"),
    "session.break": gettext_lazy("began a break"),
    "session.change": gettext_lazy("changed the session"),
    "session.closed": gettext_lazy("closed the session"),
    "session.closing": gettext_lazy("began closing"),
    "session.end_moved": gettext_lazy("moved the session’s end"),
    "session.last_call": gettext_lazy("called the last call"),
    "session.make": gettext_lazy("planned a session"),
    "session.open": gettext_lazy("opened the session"),
    "session.planned": gettext_lazy("planned a session"),
}
