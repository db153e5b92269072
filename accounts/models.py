"""People: users, workshops, class sessions, enrolments, and the audit of what staff did."""

import secrets
import uuid
from typing import ClassVar

from django.contrib.auth.models import AbstractUser, UserManager
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower, Mod
from django.db.models.lookups import Exact
from django.utils.translation import gettext_lazy as _

from accounts.clock import MarketNow

MOST_ALLOWANCE_MILLI = 10**9


class User(AbstractUser):
    """A person who signs in."""

    first_name = None  # type: ignore[assignment]
    last_name = None  # type: ignore[assignment]
    display_name = models.CharField(_("display name"), max_length=120, blank=True)
    key_namespace = models.UUIDField(
        default=uuid.uuid4, editable=False, help_text=_("Scopes this user's idempotency keys.")
    )

    objects: ClassVar[UserManager["User"]] = UserManager()  # type: ignore[assignment]

    class Meta:
        constraints = [
            models.UniqueConstraint(
                Lower("email"),
                name="user_email_once",
                condition=~Q(email=""),
                violation_error_message=_("This e-mail is taken."),
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """What pages call this person."""
        return self.display_name or self.username

    def get_full_name(self) -> str:
        return self.name

    def get_short_name(self) -> str:
        return self.name.split(" ")[0]


class Workshop(models.Model):
    """The whole course. Its rules are columns; what they mean is decided by the rooms above."""

    class Policy(models.TextChoices):
        FIFO = "fifo", _("First come, first served")
        PRIORITY = "priority", _("Priority classes")
        ROUND_ROBIN = "round_robin", _("Round robin")
        FAIR_SHARE = "fair_share", _("Fair turns")
        MARKET = "market", _("Market")

    slug = models.SlugField(max_length=60, unique=True)
    name = models.CharField(max_length=120)
    timezone = models.CharField(max_length=60, default="UTC")
    seats = models.PositiveIntegerField(default=20)
    policy = models.CharField(max_length=20, choices=Policy.choices, default=Policy.FAIR_SHARE)
    fairness_phi = models.FloatField(default=0, validators=[MinValueValidator(0), MaxValueValidator(60)])
    allowance_milli_per_hour = models.PositiveBigIntegerField(default=10_000)
    allowance_cap_milli = models.PositiveBigIntegerField(null=True, blank=True)
    max_in_flight = models.PositiveSmallIntegerField(default=3)
    max_waiting = models.PositiveSmallIntegerField(default=50)
    max_credits_in_flight_milli = models.PositiveBigIntegerField(
        null=True,
        blank=True,
        help_text=_("Most one student may have set aside for jobs in line and running; blank: no limit."),
    )
    milli_per_gpu_second = models.PositiveBigIntegerField(
        default=20, help_text=_("Base price of one reference GPU-second, in milli-credits.")
    )
    allowed_node_types = models.JSONField(default=list, blank=True)
    commercial_licences_only = models.BooleanField(
        default=False, help_text=_("Refuse models whose licences don't allow commercial use.")
    )
    bids_frozen = models.BooleanField(
        default=False, help_text=_("Nobody may raise, lower or withdraw a bid.")
    )
    paused_reason = models.CharField(
        max_length=200, blank=True, help_text=_("Set: nothing new starts; students read this.")
    )
    closed_at = models.DateTimeField(null=True, blank=True)
    ends_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text=_("Course end: members' credits expire and no allowance is given after it."),
    )
    created_at = models.DateTimeField(db_default=MarketNow(), editable=False)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(condition=Q(milli_per_gpu_second__gt=0), name="workshop_price_positive"),
            models.CheckConstraint(
                condition=Q(Exact(Mod(F("allowance_milli_per_hour"), 10), 0))
                & Q(allowance_milli_per_hour__lte=MOST_ALLOWANCE_MILLI),
                name="workshop_allowance_in_steps",
                violation_error_message=_("Give the allowance in steps of 0.01 credits, a million at most."),
            ),
            models.CheckConstraint(
                condition=Q(allowance_cap_milli__isnull=True)
                | Q(Exact(Mod(F("allowance_cap_milli"), 10), 0)),
                name="workshop_allowance_cap_in_steps",
                violation_error_message=_("Give the cap in steps of 0.01 credits."),
            ),
            models.CheckConstraint(
                condition=Q(policy__in=["fifo", "priority", "round_robin", "fair_share", "market"]),
                name="workshop_policy_known",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class ClassSession(models.Model):
    """One opening of a workshop, with its clock."""

    class State(models.TextChoices):
        REHEARSAL = "rehearsal", _("Rehearsal")
        OPEN = "open", _("Open")
        BREAK = "break", _("Break")
        LAST_CALL = "last_call", _("Last call")
        CLOSING = "closing", _("Closing")
        CLOSED = "closed", _("Closed")

    workshop = models.ForeignKey(Workshop, on_delete=models.PROTECT, related_name="sessions")
    title = models.CharField(max_length=120, blank=True)
    opens_at = models.DateTimeField()
    closes_at = models.DateTimeField()
    state = models.CharField(max_length=12, choices=State.choices, default=State.REHEARSAL)
    state_since = models.DateTimeField(db_default=MarketNow(), editable=False)
    grace_seconds = models.PositiveIntegerField(
        default=600, help_text=_("How long running jobs may go on after closing.")
    )
    base_milli_per_gpu_second = models.PositiveBigIntegerField(
        null=True, blank=True, help_text=_("This session's base price; blank: the workshop's.")
    )

    class Meta:
        ordering = ["opens_at"]
        constraints = [
            models.CheckConstraint(
                condition=Q(closes_at__gt=models.F("opens_at")), name="session_closes_after_open"
            )
        ]

    def __str__(self) -> str:
        return self.title or f"{self.workshop} {self.opens_at:%Y-%m-%d %H:%M}"


class Enrolment(models.Model):
    """A user's place in a workshop."""

    class Role(models.TextChoices):
        STUDENT = "student", _("Student")
        ASSISTANT = "assistant", _("Assistant")
        INSTRUCTOR = "instructor", _("Instructor")
        ORGANIZER = "organizer", _("Organizer")

    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="enrolments")
    workshop = models.ForeignKey(Workshop, on_delete=models.PROTECT, related_name="enrolments")
    role = models.CharField(max_length=12, choices=Role.choices, default=Role.STUDENT)
    team = models.CharField(max_length=60, blank=True)
    alias = models.CharField(
        max_length=40, blank=True, help_text=_("What other students see instead of the name.")
    )
    created_at = models.DateTimeField(db_default=MarketNow(), editable=False)
    joined_at = models.DateTimeField(
        db_default=MarketNow(),
        editable=False,
        help_text=_("Became a student then: allowance counts from here."),
    )

    class Meta:
        ordering = ["workshop", "user"]
        constraints = [
            models.UniqueConstraint(fields=["user", "workshop"], name="enrolled_once"),
            models.CheckConstraint(
                condition=Q(role__in=["student", "assistant", "instructor", "organizer"]),
                name="enrolment_role_known",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.workshop} ({self.get_role_display()})"


def new_api_secret() -> str:
    """256 random bits, shown once."""
    return secrets.token_urlsafe(32)


class ApiToken(models.Model):
    """A user's key to the HTTP API; only its SHA-256 is stored."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=60)
    prefix = models.CharField(max_length=8, help_text=_("First characters, so that people recognise it."))
    sha256 = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(db_default=MarketNow(), editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class AuditRow(models.Model):
    """What a member of staff (or the site itself) did, to whom, and why. Append-only."""

    actor = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    workshop = models.ForeignKey(Workshop, on_delete=models.PROTECT, null=True, related_name="audit")
    action = models.CharField(max_length=60)
    subject = models.CharField(max_length=120, help_text=_("kind:id, as in job:… or user:…"))
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    reason = models.CharField(max_length=500, blank=True)
    at = models.DateTimeField(db_default=MarketNow(), editable=False)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["workshop", "-id"], name="audit_by_workshop")]

    def __str__(self) -> str:
        return f"{self.action} {self.subject}"
