"""Quotes, sweeps, orders, bids, leases, what was learned of run times, and the loop's leadership."""

import uuid

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from accounts.clock import MarketNow
from accounts.models import Workshop
from jobs.models import Attempt, Job, Template
from marketplace.fleet.models import Agent


class Sweep(models.Model):
    """Jobs ordered together: a small grid over fields of one template."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workshop = models.ForeignKey(Workshop, on_delete=models.PROTECT, related_name="sweeps")
    student = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="sweeps")
    template = models.ForeignKey(Template, on_delete=models.PROTECT, related_name="sweeps")
    grid = models.JSONField(help_text=_("Field name → the values it takes."))
    created_at = models.DateTimeField(db_default=MarketNow(), editable=False)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"sweep of {self.template}"


class Quote(models.Model):
    """A stored price with ceiling and expiry. Its job, once ordered, has the same id's hex in its outputs."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workshop = models.ForeignKey(Workshop, on_delete=models.PROTECT, related_name="quotes")
    student = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="quotes")
    title = models.CharField(max_length=200)
    job_type = models.CharField(max_length=40)
    payload = models.JSONField(help_text=_("Checked and rewritten."))
    inputs = models.JSONField(default=list)
    nodes = models.JSONField(default=dict)
    summary = models.CharField(max_length=200, blank=True)
    lines = models.JSONField(help_text=_("[{label, node, gpu_seconds, amount_milli, words, free}]"))
    quote_milli = models.BigIntegerField()
    ceiling_milli = models.BigIntegerField()
    milli_per_gpu_second = models.BigIntegerField()
    rate_version = models.IntegerField(default=1)
    gpu_seconds = models.FloatField()
    estimate_seconds = models.FloatField(
        default=0, help_text=_("The same before measured runs corrected it: what is learned from.")
    )
    bias_factor = models.FloatField(
        default=1, help_text=_("How far its student's jobs ran beyond their estimates; in gpu_seconds.")
    )
    loading_seconds = models.FloatField(default=0)
    seconds_p50 = models.FloatField()
    seconds_p90 = models.FloatField()
    vram_bytes = models.BigIntegerField()
    estimate_vram_bytes = models.BigIntegerField(default=0)
    model_key = models.CharField(max_length=200, blank=True)
    model_class = models.CharField(max_length=40, blank=True)
    model_files = models.JSONField(default=list)
    template = models.ForeignKey(
        Template, on_delete=models.PROTECT, null=True, blank=True, related_name="quotes"
    )
    form_values = models.JSONField(default=dict)
    sweep = models.ForeignKey(Sweep, on_delete=models.PROTECT, null=True, blank=True, related_name="quotes")
    hints = models.JSONField(default=list, help_text=_("[{words, saved_milli, changes}]: cheaper if …"))
    requirements = models.JSONField(
        default=list, help_text=_("[{folder, name, size_bytes, licence, commercial}] of its models.")
    )
    node_types = models.JSONField(default=list)
    expires_at = models.DateTimeField()
    created_at = models.DateTimeField(db_default=MarketNow(), editable=False)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(ceiling_milli__gte=models.F("quote_milli"), quote_milli__gt=0),
                name="quote_ceiling_above",
            )
        ]

    def __str__(self) -> str:
        return self.title


class Order(models.Model):
    """A confirmed quote: which key asked for it and which job came of it. Makes submits idempotent."""

    key = models.UUIDField(primary_key=True, help_text=_("Client's key within the user's namespace."))
    student = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="orders")
    quote = models.OneToOneField(Quote, on_delete=models.PROTECT, related_name="order")
    job = models.OneToOneField(Job, on_delete=models.PROTECT, related_name="order")
    created_at = models.DateTimeField(db_default=MarketNow(), editable=False)

    class Meta:
        indexes = [models.Index(fields=["created_at"], name="order_by_time")]

    def __str__(self) -> str:
        return f"order of {self.job_id}"


class Bid(models.Model):
    """One bid on a job, kept when it is raised, lowered or withdrawn: the newest counts."""

    job = models.ForeignKey(Job, on_delete=models.PROTECT, related_name="bids")
    multiple = models.SmallIntegerField(help_text=_("Of the base price."))
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField(db_default=MarketNow(), editable=False)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.multiple}× on {self.job_id}"


class Lease(models.Model):
    """An agent's timed exclusive right to an attempt."""

    attempt = models.OneToOneField(Attempt, on_delete=models.PROTECT, primary_key=True, related_name="lease")
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="leases")
    token = models.BigIntegerField(unique=True)
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    command = models.CharField(
        max_length=10, blank=True, help_text=_("cancel or preempt, until it took effect.")
    )
    command_reason = models.CharField(max_length=200, blank=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["agent"], name="lease_alive_by_agent", condition=models.Q(ended_at__isnull=True)
            ),
            models.Index(
                fields=["expires_at"], name="lease_alive_by_expiry", condition=models.Q(ended_at__isnull=True)
            ),
        ]

    def __str__(self) -> str:
        return f"lease of {self.attempt_id}"


class Calibration(models.Model):
    """What measured runs have taught so far, one row for real GPUs and one for simulated ones. Quotes don't
    use it before it became a rate version."""

    simulated = models.BooleanField(unique=True)
    learned = models.JSONField(default=dict, help_text=_("See marketplace.pricing.learned."))
    runs = models.PositiveIntegerField(default=0)
    changed_at = models.DateTimeField(db_default=MarketNow())

    def __str__(self) -> str:
        return f"{'simulated' if self.simulated else 'real'} GPUs, {self.runs} runs"


class MeasuredRun(models.Model):
    """One run that was learned from, at most one an attempt. Cold and stopped runs teach their student's
    bias only."""

    attempt = models.OneToOneField(
        Attempt, on_delete=models.PROTECT, primary_key=True, related_name="measured_run"
    )
    simulated = models.BooleanField()
    warm = models.BooleanField(help_text=_("Ran to its end and loaded no model."))
    model_class = models.CharField(max_length=60)
    gpu = models.CharField(max_length=120)
    template = models.CharField(max_length=200, blank=True)
    estimate_seconds = models.FloatField(help_text=_("Of the reference GPU, before any correction."))
    predicted_seconds = models.FloatField(help_text=_("By what was learned before this run."))
    actual_seconds = models.FloatField(help_text=_("Charged seconds."))
    estimate_vram_bytes = models.BigIntegerField(default=0)
    peak_vram_bytes = models.BigIntegerField(null=True, blank=True)
    learned_at = models.DateTimeField(db_default=MarketNow(), editable=False)

    class Meta:
        ordering = ["-learned_at", "-pk"]
        indexes = [
            models.Index(
                fields=["simulated", "-learned_at"], name="run_by_ground", condition=models.Q(warm=True)
            )
        ]

    def __str__(self) -> str:
        return f"{self.model_class} on {self.gpu}: {self.actual_seconds:.1f} s"


class StudentBias(models.Model):
    """How far one student's jobs run beyond their estimates (marketplace.pricing.calibration.Bias)."""

    student = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="biases")
    simulated = models.BooleanField()
    total = models.FloatField(default=0)
    weight = models.FloatField(default=0)
    jobs = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["student"]
        verbose_name_plural = "student biases"
        constraints = [models.UniqueConstraint(fields=["student", "simulated"], name="bias_once")]

    def __str__(self) -> str:
        return f"bias of {self.student}"


class RateVersion(models.Model):
    """A proposed, active or former state of the estimates; every quote names the one it was made with.

    Number 1 is the estimates as they are written in the code: it has no row.
    """

    class Status(models.TextChoices):
        PROPOSED = "proposed", _("Proposed")
        ACTIVE = "active", _("In use")
        RETIRED = "retired", _("Retired")
        REJECTED = "rejected", _("Rejected")

    number = models.PositiveIntegerField(unique=True)
    simulated = models.BooleanField(help_text=_("Learned from, and used for, simulated GPUs."))
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.PROPOSED)
    learned = models.JSONField(help_text=_("See marketplace.pricing.learned."))
    runs = models.PositiveIntegerField(help_text=_("New runs since the version before."))
    error_before = models.FloatField(help_text=_("Mean error of the version before on these runs."))
    error_after = models.FloatField(
        help_text=_("Mean error of what was learned, each run predicted before it was learned from.")
    )
    largest_change = models.FloatField(help_text=_("Of any model class on any GPU: 0.25 is 25 %."))
    changes = models.JSONField(default=list, help_text=_("[{model_class, gpu, runs, change}]"))
    automatic = models.BooleanField(default=False, help_text=_("Approved within bounds, by nobody."))
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    decided_at = models.DateTimeField(null=True, blank=True)
    proposed_at = models.DateTimeField(db_default=MarketNow(), editable=False)

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(status__in=["proposed", "active", "retired", "rejected"]),
                name="rate_version_status_known",
            ),
            models.UniqueConstraint(
                fields=["simulated"], condition=models.Q(status="active"), name="rate_version_one_active"
            ),
            models.UniqueConstraint(
                fields=["simulated"], condition=models.Q(status="proposed"), name="rate_version_one_proposed"
            ),
        ]

    def __str__(self) -> str:
        return f"rates {self.number}"


class WaitForecast(models.Model):
    """When the replayed line said that an ordered job would start, kept until it does: then it is learned
    from and the row goes."""

    order = models.OneToOneField(Order, on_delete=models.PROTECT, primary_key=True, related_name="forecast")
    policy = models.CharField(max_length=20)
    level = models.SmallIntegerField(help_text=_("Its bid; 0 without credits."))
    seconds = models.FloatField(help_text=_("Of the bare replay, from made_at."))
    made_at = models.DateTimeField(db_default=MarketNow(), editable=False)

    def __str__(self) -> str:
        return f"{self.seconds:.0f} s for {self.order_id}"


class WaitQuantile(models.Model):
    """How far jobs of one bid level start from what the replayed line says (marketplace.market.waits)."""

    workshop = models.ForeignKey(Workshop, on_delete=models.PROTECT, related_name="wait_quantiles")
    policy = models.CharField(max_length=20)
    level = models.SmallIntegerField(help_text=_("The bid; 0 without credits."))
    low = models.FloatField(help_text=_("Logarithms of actual over replayed: one in ten is below this,"))
    middle = models.FloatField(help_text=_("one in two below this,"))
    high = models.FloatField(help_text=_("nine in ten below this."))
    count = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["workshop", "policy", "level"]
        constraints = [
            models.UniqueConstraint(fields=["workshop", "policy", "level"], name="wait_quantile_once")
        ]

    def __str__(self) -> str:
        return f"waits at {self.level}× under {self.policy}"


class Leadership(models.Model):
    """One row: which market loop leads, until when. A row, since pools drop advisory locks."""

    leader = models.CharField(max_length=64, blank=True)
    epoch = models.BigIntegerField(default=0, help_text=_("Rises with each new leader."))
    expires_at = models.DateTimeField(db_default=MarketNow())
    started_at = models.DateTimeField(
        db_default=MarketNow(), help_text=_("Of this leader, or the last gap's end.")
    )
    renewed_at = models.DateTimeField(db_default=MarketNow())

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(pk=1), name="leadership_single_row")]

    def __str__(self) -> str:
        return self.leader or "nobody"
