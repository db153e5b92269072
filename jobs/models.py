"""What was asked for. Status and queue columns are written by `jobs.lifecycle` alone."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import F, Func, Q, Value
from django.utils.translation import gettext_lazy as _

from accounts.clock import MarketNow
from accounts.models import Workshop


class Status(models.TextChoices):
    """A job's state (architecture.md, States)."""

    HELD_BACK = "held_back", _("Held back")
    QUEUED = "queued", _("Queued")
    ASSIGNED = "assigned", _("Assigned")
    LOADING = "loading", _("Loading model")
    RUNNING = "running", _("Running")
    STORING = "storing", _("Storing")
    SUCCEEDED = "succeeded", _("Done")
    FAILED = "failed", _("Failed")
    CANCELLED = "cancelled", _("Cancelled")


WAITING = (Status.HELD_BACK, Status.QUEUED)
ON_AGENT = (Status.ASSIGNED, Status.LOADING, Status.RUNNING, Status.STORING)
TERMINAL = (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED)


class FailureCause(models.TextChoices):
    """Why a job failed; the values of gpu_agent.protocol.phases.Cause (tested equal)."""

    INVALID_WORKFLOW = "invalid_workflow", _("Invalid workflow")
    MISSING_MODEL = "missing_model", _("Missing model")
    MISSING_NODE = "missing_node", _("Missing node")
    OUT_OF_MEMORY = "out_of_memory", _("Out of memory")
    EXECUTION_ERROR = "execution_error", _("Execution error")
    TIMED_OUT = "timed_out", _("Timed out")
    INFRASTRUCTURE = "infrastructure", _("Infrastructure")
    OVER_BUDGET = "over_budget", _("Over budget")


NEXT_NUMBER = Func(Value("jobs_job_number"), function="nextval", output_field=models.BigIntegerField())


class Template(models.Model):
    """A workflow with chosen inputs exposed as a form."""

    workshop = models.ForeignKey(Workshop, on_delete=models.PROTECT, related_name="templates")
    slug = models.SlugField(max_length=80)
    version = models.PositiveIntegerField(default=1)
    name = models.CharField(max_length=120)
    description = models.CharField(max_length=500, blank=True)
    job_type = models.CharField(max_length=40, default="comfyui")
    category = models.CharField(max_length=40, blank=True, help_text=_("Text to image, upscale …"))
    source = models.CharField(
        max_length=120, blank=True, help_text=_("starter:…, official:… or blank for the workshop's own.")
    )
    payload = models.JSONField(help_text=_("In the API format."))
    form = models.JSONField(default=list, help_text=_("Exposed inputs: [{node, field, label, …}]."))
    model_files = models.JSONField(
        default=list, help_text=_("[{folder, name, size_bytes, licence, commercial, url}] it needs.")
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    published_at = models.DateTimeField(null=True, blank=True)
    withdrawn_at = models.DateTimeField(null=True, blank=True)
    paused_reason = models.CharField(
        max_length=200, blank=True, help_text=_("Set: its jobs wait; students read this.")
    )
    created_at = models.DateTimeField(db_default=MarketNow(), editable=False)

    class Meta:
        ordering = ["name", "version"]
        constraints = [
            models.UniqueConstraint(fields=["workshop", "slug", "version"], name="template_version_once")
        ]

    def __str__(self) -> str:
        return f"{self.name} v{self.version}"


class Job(models.Model):
    """One thing a user asked for and is charged at most once for."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    number = models.BigIntegerField(
        unique=True, editable=False, db_default=NEXT_NUMBER, help_text=_("What people call it: job 4182.")
    )
    workshop = models.ForeignKey(Workshop, on_delete=models.PROTECT, related_name="jobs")
    student = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="jobs")
    title = models.CharField(max_length=200)
    job_type = models.CharField(max_length=40)
    payload = models.JSONField(help_text=_("Checked and rewritten; what an agent runs."))
    inputs = models.JSONField(default=list, help_text=_("[{sha256, name, size_bytes}] the payload reads."))
    nodes = models.JSONField(
        default=dict, help_text=_("Node id → {title, seconds, loader, sampler} from the quote.")
    )
    summary = models.CharField(max_length=200, blank=True)
    template = models.ForeignKey(
        Template, on_delete=models.PROTECT, null=True, blank=True, related_name="jobs"
    )
    form_values = models.JSONField(default=dict, help_text=_("What its owner chose in the template's form."))
    graph_sha256 = models.CharField(
        max_length=64, blank=True, help_text=_("Of the checked payload: the same graph again is recognised.")
    )

    status = models.CharField(max_length=12, choices=Status.choices, default=Status.QUEUED)
    cause = models.CharField(max_length=20, choices=FailureCause.choices, blank=True)
    message = models.CharField(max_length=1000, blank=True, help_text=_("Why it failed, for people."))
    fault_node = models.CharField(max_length=120, blank=True)
    wait_reason = models.CharField(max_length=300, blank=True, help_text=_("Why it is not running yet."))

    queue_class = models.SmallIntegerField(default=1, help_text=_("0 demos, 1 students, 2 unpaid …"))
    queue_key_ms = models.BigIntegerField(default=0)
    bid = models.SmallIntegerField(
        default=1, help_text=_("Most its owner pays, as a multiple of the base price.")
    )
    unpaid = models.BooleanField(default=False, help_text=_("Its owner is out of credits; it holds nothing."))
    demo = models.BooleanField(default=False, help_text=_("An instructor's, paid by the workshop's purse."))
    clearing_multiplier = models.FloatField(
        null=True, blank=True, help_text=_("Multiple of the base price it pays, set when it is assigned.")
    )
    clearing_reason = models.CharField(max_length=300, blank=True, help_text=_("Why that multiple."))
    pinned_agent_id = models.CharField(
        max_length=32, blank=True, help_text=_("Staff moved it there: no other agent takes it.")
    )
    vram_class = models.SmallIntegerField(default=0, help_text=_("GiB needed, rounded up to a class."))
    vram_bytes = models.BigIntegerField(default=0)
    model_key = models.CharField(max_length=200, blank=True)
    gpu_seconds = models.FloatField(default=0, help_text=_("Demand in reference GPU-seconds."))
    loading_seconds = models.FloatField(
        default=0, help_text=_("Expected loading of its models, not charged.")
    )
    seconds_p90 = models.FloatField(default=0, help_text=_("Nine in ten such jobs run shorter."))

    hold_key = models.UUIDField(null=True, blank=True, help_text=_("Current hold in the ledger."))
    milli_per_gpu_second = models.BigIntegerField(default=20, help_text=_("Price at which it was quoted."))
    quote_milli = models.BigIntegerField(default=0)
    ceiling_milli = models.BigIntegerField(default=0)
    held_milli = models.BigIntegerField(default=0)
    captured_milli = models.BigIntegerField(null=True, blank=True)
    charged_ms = models.BigIntegerField(default=0, help_text=_("Reference GPU time of the last attempt."))
    bought_milli = models.BigIntegerField(
        null=True, blank=True, help_text=_("Paid afterwards for what a failed job did produce.")
    )

    infrastructure_tries = models.SmallIntegerField(default=0)
    attempt_count = models.SmallIntegerField(default=0)
    event_seq = models.IntegerField(default=0)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    cancel_capture_milli = models.BigIntegerField(
        null=True, blank=True, help_text=_("Most its owner pays for stopping it, as shown; blank: nothing.")
    )
    refused_agents = models.JSONField(
        default=dict, help_text=_("Agent → free bytes of the device it bounced off.")
    )
    joined_at = models.DateTimeField(db_default=MarketNow())
    created_at = models.DateTimeField(db_default=MarketNow(), editable=False)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    simulated = models.BooleanField(default=False, help_text=_("Made by a simulated GPU."))
    agent_name = models.CharField(max_length=60, blank=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(condition=Q(status__in=Status.values), name="job_status_known"),
            models.CheckConstraint(
                condition=Q(cause="") | Q(cause__in=FailureCause.values), name="job_cause_known"
            ),
            models.CheckConstraint(
                condition=Q(cause="") | Q(status="failed"), name="job_cause_only_when_failed"
            ),
            models.CheckConstraint(
                condition=Q(captured_milli__isnull=True)
                | Q(captured_milli__lte=F("held_milli"), captured_milli__gte=0),
                name="job_capture_within_hold",
            ),
        ]
        indexes = [
            models.Index(
                "workshop",
                "vram_class",
                "queue_class",
                "queue_key_ms",
                "id",
                name="job_pick_by_vram",
                include=["student", "model_key"],
                condition=Q(status="queued"),
            ),
            models.Index(
                "workshop",
                "model_key",
                "queue_class",
                "queue_key_ms",
                "id",
                name="job_pick_by_model",
                include=["student", "vram_class"],
                condition=Q(status="queued"),
            ),
            models.Index(
                "workshop", "student", "queue_key_ms", name="job_held_back", condition=Q(status="held_back")
            ),
            models.Index(fields=["student", "-created_at"], name="job_by_student"),
            models.Index(fields=["workshop", "status"], name="job_by_status"),
        ]

    def __str__(self) -> str:
        return f"Job {self.number}: {self.title}"


class Attempt(models.Model):
    """One try of a job on one agent. The agent's id is text: Lease, above, holds the foreign key."""

    job = models.ForeignKey(Job, on_delete=models.PROTECT, related_name="attempts")
    number = models.SmallIntegerField()
    agent_id = models.CharField(max_length=32)
    agent_name = models.CharField(max_length=60)
    token = models.BigIntegerField(help_text=_("Fencing token; a higher one supersedes."))
    prompt_id = models.UUIDField(default=uuid.uuid4)
    phase = models.CharField(max_length=12, blank=True)
    outcome = models.CharField(
        max_length=12, blank=True, help_text=_("Blank while it lives; lost when its lease expired.")
    )
    cause = models.CharField(max_length=20, blank=True)
    message = models.CharField(max_length=1000, blank=True)
    report_seq = models.IntegerField(default=0)
    deliveries = models.SmallIntegerField(default=0)
    delivered_at = models.DateTimeField(null=True, blank=True)
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=MarketNow(), editable=False)
    execution_started_at = models.DateTimeField(null=True, blank=True)
    seen_at = models.DateTimeField(null=True, blank=True, help_text=_("Last heartbeat that listed it."))
    remaining_ms = models.BigIntegerField(null=True, blank=True, help_text=_("As told at seen_at."))
    ended_at = models.DateTimeField(null=True, blank=True)
    executing_ms = models.BigIntegerField(default=0)
    loading_ms = models.BigIntegerField(default=0)
    charged_ms = models.BigIntegerField(default=0)
    vram_peak_bytes = models.BigIntegerField(null=True, blank=True)
    simulated = models.BooleanField(default=False)

    class Meta:
        ordering = ["job", "number"]
        constraints = [
            models.UniqueConstraint(fields=["job", "number"], name="attempt_number_once"),
            models.UniqueConstraint(fields=["job"], condition=Q(outcome=""), name="attempt_one_alive"),
        ]

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.job_id}"


class JobEvent(models.Model):
    """What happened to a job, in order; live views replay from here."""

    job = models.ForeignKey(Job, on_delete=models.PROTECT, related_name="events")
    seq = models.IntegerField()
    kind = models.CharField(max_length=40)
    data = models.JSONField(default=dict)
    at = models.DateTimeField(db_default=MarketNow(), editable=False)

    class Meta:
        ordering = ["job", "seq"]
        constraints = [models.UniqueConstraint(fields=["job", "seq"], name="event_seq_once")]

    def __str__(self) -> str:
        return f"{self.seq} {self.kind}"


class Artifact(models.Model):
    """An output file, stored under its SHA-256; visible once its job is settled."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    job = models.ForeignKey(Job, on_delete=models.PROTECT, related_name="artifacts")
    attempt = models.ForeignKey(Attempt, on_delete=models.PROTECT, related_name="artifacts")
    sha256 = models.CharField(max_length=64)
    name = models.CharField(max_length=200)
    media_type = models.CharField(max_length=100)
    kind = models.CharField(max_length=10)
    node = models.CharField(max_length=120, blank=True)
    size_bytes = models.BigIntegerField()
    ordinal = models.SmallIntegerField(default=0)
    thumbnail_sha256 = models.CharField(max_length=64, blank=True)
    width = models.IntegerField(null=True, blank=True)
    height = models.IntegerField(null=True, blank=True)
    visible_at = models.DateTimeField(null=True, blank=True)
    deleted_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=MarketNow(), editable=False)

    class Meta:
        ordering = ["job", "ordinal"]
        constraints = [models.UniqueConstraint(fields=["attempt", "sha256", "name"], name="artifact_once")]
        indexes = [models.Index(fields=["sha256"], name="artifact_by_sha256")]

    def __str__(self) -> str:
        return self.name


class Upload(models.Model):
    """A file a user brought: an image or clip a workflow reads."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="uploads")
    workshop = models.ForeignKey(Workshop, on_delete=models.PROTECT, related_name="uploads")
    sha256 = models.CharField(max_length=64)
    name = models.CharField(max_length=200, help_text=_("As its owner called it; what a workflow names."))
    media_type = models.CharField(max_length=100)
    size_bytes = models.BigIntegerField()
    width = models.IntegerField(null=True, blank=True)
    height = models.IntegerField(null=True, blank=True)
    frames = models.IntegerField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=MarketNow(), editable=False)

    class Meta:
        ordering = ["-created_at"]
        constraints = [models.UniqueConstraint(fields=["owner", "workshop", "name"], name="upload_name_once")]
        indexes = [models.Index(fields=["sha256"], name="upload_by_sha256")]

    def __str__(self) -> str:
        return self.name


class Chore(models.Model):
    """A piece of background work, idempotent; announced again until done."""

    kind = models.CharField(max_length=40)
    subject = models.CharField(max_length=120)
    data = models.JSONField(default=dict)
    announced_at = models.DateTimeField(null=True, blank=True)
    tries = models.SmallIntegerField(default=0)
    done_at = models.DateTimeField(null=True, blank=True)
    failure = models.CharField(max_length=1000, blank=True)
    created_at = models.DateTimeField(db_default=MarketNow(), editable=False)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["kind", "subject"], name="chore_once")]
        indexes = [
            models.Index(fields=["announced_at"], name="chore_open", condition=Q(done_at__isnull=True))
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}"


class Alarm(models.Model):
    """Something wrong the site noticed about itself, with what it does about it."""

    kind = models.CharField(max_length=40)
    subject = models.CharField(max_length=120, blank=True)
    message = models.CharField(max_length=1000)
    raised_at = models.DateTimeField(db_default=MarketNow(), editable=False)
    seen_at = models.DateTimeField(db_default=MarketNow())
    cleared_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-raised_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "subject"], condition=Q(cleared_at__isnull=True), name="alarm_open_once"
            )
        ]

    def __str__(self) -> str:
        return self.message
