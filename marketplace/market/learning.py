"""Learning from finished runs: rates from warm ones, a student's bias from all, each attempt once.

Settlement only leaves a chore behind; what is learned is learned apart and can fail nothing. Runs on
simulated GPUs teach simulated rates alone.
"""

from django.db import transaction

from accounts.clock import MarketNow
from gpu_agent.protocol.messages import Report
from gpu_agent.protocol.phases import Cause, Outcome
from jobs import chores
from jobs.models import Attempt, Template
from marketplace.fleet.models import Device
from marketplace.market.models import Calibration, MeasuredRun, Quote, StudentBias
from marketplace.pricing.calibration import Bias, Run
from marketplace.pricing.learned import Learned

CHORE = "learn_run"
WARM_MS = 500  # of apparent loading: a sampler's first step is slower than its others
WARM_SHARE = 0.05
LEAST_SHARE = 0.1  # of the estimate: below it ComfyUI answered from its cache


def want(attempt_id: int, words: Report) -> None:
    """Ask, in the transaction that ends an attempt, that its run is learned from later, if it can teach."""
    stopped = words.fault is not None and words.fault.cause is Cause.OVER_BUDGET
    if stopped or (words.outcome is Outcome.SUCCEEDED and not words.cached):
        chores.want(CHORE, str(attempt_id))


def learn(subject: str) -> bool:
    """Learn from one ended attempt, given its id; False when it was learned from or has nothing to teach."""
    attempt = Attempt.objects.select_related("job").filter(pk=int(subject)).exclude(outcome="").first()
    if attempt is None:
        return False
    quote = Quote.objects.select_related("template").filter(order__job=attempt.job_id).first()
    actual = attempt.charged_ms / 1000
    if quote is None or quote.estimate_seconds <= 0 or actual < LEAST_SHARE * quote.estimate_seconds:
        return False
    with transaction.atomic():
        Calibration.objects.get_or_create(simulated=attempt.simulated)
        state = Calibration.objects.select_for_update(no_key=True).get(simulated=attempt.simulated)
        # Only now: a twin of this chore may have held the lock.
        if MeasuredRun.objects.filter(pk=attempt.pk).exists():
            return False
        _learn(state, attempt, quote, actual)
        _learn_bias(attempt, quote.gpu_seconds / quote.bias_factor, actual)
    return True


def bias_of(student_id: int, *, simulated: bool) -> float:
    """How many times their estimates this student's jobs take; 1 for most."""
    rows = StudentBias.objects.filter(student=student_id, simulated=simulated)
    return Bias(*(rows.values_list("total", "weight").first() or ())).factor


def class_of(quote: Quote) -> str:
    """What its runs are learned under: the model class, or the job type where no model is known."""
    return class_name(quote.job_type, quote.model_class)


def class_name(job_type: str, model_class: str) -> str:
    return model_class or job_type


def template_name(template: Template | None) -> str:
    """What a template's own residual is kept under; every version has its own, "" without a template."""
    if template is None:
        return ""
    return f"{template.source or f'{template.workshop_id}/{template.slug}'}@{template.version}"


def _learn(state: Calibration, attempt: Attempt, quote: Quote, actual: float) -> None:
    gpu = Device.objects.filter(agent=attempt.agent_id).values_list("name", flat=True).first() or ""
    run = Run(class_of(quote), gpu, template_name(quote.template), quote.estimate_seconds, actual)
    learned = Learned.from_json(state.learned)
    predicted = learned.calibration.predict(run.model_class, gpu, run.template, run.estimate)
    warm = _is_warm(attempt)
    MeasuredRun.objects.create(
        attempt=attempt,
        simulated=attempt.simulated,
        warm=warm,
        model_class=run.model_class,
        gpu=gpu,
        template=run.template,
        estimate_seconds=run.estimate,
        predicted_seconds=predicted.p50,
        actual_seconds=actual,
        estimate_vram_bytes=quote.estimate_vram_bytes,
        peak_vram_bytes=attempt.vram_peak_bytes,
    )
    if warm:
        learned.learn(run, quote.estimate_vram_bytes, attempt.vram_peak_bytes)
        Calibration.objects.filter(pk=state.pk).update(
            learned=learned.to_json(), runs=learned.runs, changed_at=MarketNow()
        )


def _is_warm(attempt: Attempt) -> bool:
    """Whether it ran to its end and loaded nothing. A run whose loading could not be told from work counts
    as loaded: its charged seconds were cut at the quote."""
    if attempt.outcome != Outcome.SUCCEEDED:
        return False
    return attempt.loading_ms <= max(WARM_MS, WARM_SHARE * attempt.executing_ms)


def _learn_bias(attempt: Attempt, predicted: float, actual: float) -> None:
    """`predicted`: seconds for anybody. A job stopped over budget counts too: it paid nothing, and would
    else cost its student nothing ever."""
    student = attempt.job.student_id
    StudentBias.objects.get_or_create(student_id=student, simulated=attempt.simulated)
    row = StudentBias.objects.select_for_update(no_key=True).get(student=student, simulated=attempt.simulated)
    learned = Bias(row.total, row.weight).learned(predicted, actual)
    row.total, row.weight, row.jobs = learned.total, learned.weight, row.jobs + 1
    row.save(update_fields=["total", "weight", "jobs"])
