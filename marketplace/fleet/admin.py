"""Agents in the admin: look, drain, revoke. Enrolling is a command, for the token is shown once."""

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin, StackedInline

from accounts.models import User
from marketplace.fleet import admin_models, registry
from marketplace.fleet.models import Agent, Device, Inventory


class _ReadOnly:
    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


class DeviceInline(_ReadOnly, StackedInline):  # type: ignore[misc]
    model = Device
    extra = 0


class InventoryInline(_ReadOnly, StackedInline):  # type: ignore[misc]
    model = Inventory
    extra = 0
    fields = ["node_definitions", "any_model", "job_types", "published_at"]
    readonly_fields = fields


@admin.register(Agent)
class AgentAdmin(_ReadOnly, ModelAdmin):  # type: ignore[misc]
    """What each agent last said of itself."""

    list_display = [
        "name",
        "state",
        "workshop",
        "simulated",
        "comfyui_version",
        "comfyui_ready",
        "last_seen_at",
    ]
    list_filter = ["state", "simulated", "workshop"]
    list_select_related = ["workshop"]
    search_fields = ["name", "hostname"]
    exclude = ["token_sha256", "previous_token_sha256"]
    inlines = [DeviceInline, InventoryInline, admin_models.ModelReportInline]
    actions = ["drain", "resume", "revoke"]

    def has_manage_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    @admin.action(permissions=["manage"], description=_("Drain: take nothing new"))
    def drain(self, request: HttpRequest, queryset: QuerySet[Agent]) -> None:
        for agent in queryset:
            registry.request_drain(agent, True, actor=_actor(request))
        messages.success(request, _("They take nothing new from their next heartbeat on."))

    @admin.action(permissions=["manage"], description=_("Resume: take jobs again"))
    def resume(self, request: HttpRequest, queryset: QuerySet[Agent]) -> None:
        for agent in queryset:
            registry.request_drain(agent, False, actor=_actor(request))
        messages.success(request, _("They take jobs again from their next heartbeat on."))

    @admin.action(permissions=["manage"], description=_("Revoke: take access away for good"))
    def revoke(self, request: HttpRequest, queryset: QuerySet[Agent]) -> None:
        for agent in queryset:
            registry.revoke(agent, actor=_actor(request))
        messages.success(request, _("Revoked. What they held is requeued when its lease expires."))


admin_models.register(admin.site)


def _actor(request: HttpRequest) -> User | None:
    return request.user if isinstance(request.user, User) else None
