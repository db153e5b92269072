"""Quotes, sweeps, orders, bids, leases and the loop's leadership."""

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
    loading_seconds = models.FloatField(default=0)
    seconds_p50 = models.FloatField()
    seconds_p90 = models.FloatField()
    vram_bytes = models.BigIntegerField()
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
