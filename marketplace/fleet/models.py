"""Agents, their devices and what each can run; and this installation's timeline."""

import uuid

from django.db import models
from django.utils.translation import gettext_lazy as _

from accounts.clock import MarketNow
from accounts.models import Workshop


def new_agent_id() -> str:
    """32 hex digits: fixed length, so that no id is another's prefix."""
    return uuid.uuid4().hex


class Installation(models.Model):
    """One row: the timeline number, raised when the site is restored from a snapshot."""

    timeline = models.PositiveIntegerField(default=1)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(pk=1), name="installation_single_row")]

    def __str__(self) -> str:
        return f"timeline {self.timeline}"


class NodeDefinitions(models.Model):
    """ComfyUI's /object_info, stored once per content."""

    sha256 = models.CharField(primary_key=True, max_length=64)
    body = models.JSONField()
    created_at = models.DateTimeField(db_default=MarketNow(), editable=False)

    class Meta:
        verbose_name_plural = "node definitions"

    def __str__(self) -> str:
        return self.sha256[:12]


class Agent(models.Model):
    """A process on a GPU host that runs jobs on one GPU."""

    class State(models.TextChoices):
        NEW = "new", _("Never seen")
        READY = "ready", _("Ready")
        DRAINING = "draining", _("Draining")
        LOST = "lost", _("Lost contact")
        REVOKED = "revoked", _("Revoked")

    id = models.CharField(primary_key=True, max_length=32, default=new_agent_id, editable=False)
    name = models.CharField(max_length=60, unique=True)
    workshop = models.ForeignKey(
        Workshop,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="agents",
        help_text=_("Serves only this workshop; blank: any."),
    )
    token_prefix = models.CharField(max_length=8)
    token_sha256 = models.CharField(max_length=64, unique=True)
    previous_token_sha256 = models.CharField(max_length=64, blank=True, db_index=True)
    previous_token_until = models.DateTimeField(
        null=True, blank=True, help_text=_("The token before the last rotation works until then.")
    )
    state = models.CharField(max_length=10, choices=State.choices, default=State.NEW)
    simulated = models.BooleanField(default=False)
    speed_factor = models.FloatField(default=1.0, help_text=_("Against the reference GPU."))
    version = models.CharField(max_length=40, blank=True)
    hostname = models.CharField(max_length=120, blank=True)
    comfyui_ready = models.BooleanField(default=False)
    comfyui_version = models.CharField(max_length=40, blank=True)
    warnings = models.JSONField(default=list, blank=True)
    resident_models = models.JSONField(default=list, blank=True)
    drain_requested = models.BooleanField(default=False)
    pause_reason = models.CharField(max_length=200, blank=True)
    remaining_ms = models.IntegerField(
        null=True, blank=True, help_text=_("Of the running job, as last reported.")
    )
    last_seen_at = models.DateTimeField(null=True, blank=True)
    enrolled_at = models.DateTimeField(db_default=MarketNow(), editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Device(models.Model):
    """One GPU, as its agent last reported it."""

    agent = models.OneToOneField(Agent, on_delete=models.CASCADE, related_name="device")
    uuid = models.CharField(max_length=80)
    name = models.CharField(max_length=120)
    vram_total_bytes = models.BigIntegerField()
    vram_free_bytes = models.BigIntegerField()
    utilization_percent = models.FloatField(null=True, blank=True)
    temperature_celsius = models.FloatField(null=True, blank=True)
    power_watts = models.FloatField(null=True, blank=True)
    simulated = models.BooleanField(default=False)
    lost = models.BooleanField(default=False)
    sampled_at = models.DateTimeField(db_default=MarketNow())

    def __str__(self) -> str:
        return self.name


class Inventory(models.Model):
    """What an agent can run."""

    agent = models.OneToOneField(Agent, on_delete=models.CASCADE, related_name="inventory")
    node_definitions = models.ForeignKey(
        NodeDefinitions, on_delete=models.PROTECT, null=True, related_name="+"
    )
    model_files = models.JSONField(default=dict, help_text=_("Folder → names present."))
    any_model = models.BooleanField(default=False)
    job_types = models.JSONField(default=list)
    published_at = models.DateTimeField(db_default=MarketNow())

    class Meta:
        verbose_name_plural = "inventories"

    def __str__(self) -> str:
        return f"inventory of {self.agent}"


class ModelManifestEntry(models.Model):
    """One model file a workshop needs on its GPU hosts. Written through `manifest.py`."""

    workshop = models.ForeignKey(Workshop, on_delete=models.PROTECT, related_name="model_manifest")
    folder = models.CharField(max_length=80, help_text=_("Below the models folder: checkpoints, loras …"))
    name = models.CharField(max_length=200)
    sources = models.JSONField(
        default=list, blank=True, help_text=_("https addresses it may be fetched from, best first.")
    )
    size_bytes = models.BigIntegerField(
        _("bytes"), null=True, blank=True, help_text=_("Blank: nobody has said.")
    )
    sha256 = models.CharField(
        "SHA-256", max_length=64, blank=True, help_text=_("Blank: what arrives cannot be proven.")
    )
    licence = models.CharField(max_length=120, blank=True)
    gated = models.BooleanField(
        default=False,
        help_text=_("Its source wants an accepted licence and a token of the GPU host's owner."),
    )
    created_at = models.DateTimeField(db_default=MarketNow(), editable=False)

    class Meta:
        ordering = ["workshop", "folder", "name"]
        verbose_name = _("model file")
        verbose_name_plural = _("model manifest")
        constraints = [
            models.UniqueConstraint(fields=["workshop", "folder", "name"], name="manifest_file_once"),
            models.CheckConstraint(
                condition=models.Q(size_bytes=None) | models.Q(size_bytes__gt=0),
                name="manifest_file_has_bytes",
            ),
            models.CheckConstraint(
                condition=models.Q(sha256="") | models.Q(sha256__regex=r"^[0-9a-f]{64}$"),
                name="manifest_file_sha256",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.folder}/{self.name}"


class ModelReport(models.Model):
    """How far an agent's host has the model files of its manifest, as it last told."""

    agent = models.OneToOneField(Agent, on_delete=models.CASCADE, related_name="model_report")
    files = models.JSONField(
        default=list, help_text=_("[{folder, name, state, received_bytes, size_bytes, sha256, message}]")
    )
    bytes_per_second = models.BigIntegerField(default=0)
    ended = models.BooleanField(default=True, help_text=_("Nothing more is on its way."))
    reported_at = models.DateTimeField(db_default=MarketNow())

    def __str__(self) -> str:
        return f"model files of {self.agent}"
