"""Jobs in the admin: to read. What may be done to a job has its doors in the market."""

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline

from jobs.models import Alarm, Artifact, Attempt, Chore, Job, JobEvent, Upload


class _ReadOnly:
    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


class AttemptInline(_ReadOnly, TabularInline):  # type: ignore[misc]
    model = Attempt
    extra = 0
    fields = [
        "number",
        "agent_name",
        "phase",
        "outcome",
        "cause",
        "message",
        "charged_ms",
        "created_at",
        "ended_at",
    ]


class EventInline(_ReadOnly, TabularInline):  # type: ignore[misc]
    model = JobEvent
    extra = 0
    fields = ["seq", "kind", "data", "at"]


class ArtifactInline(_ReadOnly, TabularInline):  # type: ignore[misc]
    model = Artifact
    extra = 0
    fields = ["name", "kind", "size_bytes", "visible_at", "deleted_at"]


@admin.register(Job)
class JobAdmin(_ReadOnly, ModelAdmin):  # type: ignore[misc]
    """What was asked for and how it went."""

    list_display = ["number", "title", "student", "workshop", "status", "cause", "agent_name", "created_at"]
    list_filter = ["status", "cause", "workshop", "simulated"]
    list_select_related = ["student", "workshop"]
    search_fields = ["number", "title", "student__username"]
    # Long, and a student's own words.
    exclude = ["payload", "nodes"]
    inlines = [AttemptInline, EventInline, ArtifactInline]


@admin.register(Upload)
class UploadAdmin(_ReadOnly, ModelAdmin):  # type: ignore[misc]
    """Files people brought."""

    list_display = ["name", "owner", "workshop", "media_type", "size_bytes", "created_at"]
    list_filter = ["workshop"]
    list_select_related = ["owner", "workshop"]
    search_fields = ["name", "owner__username", "sha256"]


@admin.register(Chore)
class ChoreAdmin(_ReadOnly, ModelAdmin):  # type: ignore[misc]
    """Background work and what became of it."""

    list_display = ["kind", "subject", "tries", "announced_at", "done_at", "failure"]
    list_filter = ["kind"]


@admin.register(Alarm)
class AlarmAdmin(_ReadOnly, ModelAdmin):  # type: ignore[misc]
    """What the site noticed about itself."""

    list_display = ["kind", "subject", "message", "raised_at", "seen_at", "cleared_at"]
    list_filter = ["kind"]
