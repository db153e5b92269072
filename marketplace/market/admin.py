"""Rates in the admin: what was learned, how well it predicts, and whether quotes use it."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin

from accounts.admin_scope import person
from accounts.models import User
from marketplace.market import rate_versions
from marketplace.market.models import RateVersion, StudentBias
from marketplace.pricing.calibration import Bias


class _ReadOnly(ModelAdmin):  # type: ignore[misc]
    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(RateVersion)
class RateVersionAdmin(_ReadOnly):
    """Approve or reject what doesn't approve itself."""

    list_display = [
        "number",
        "status",
        "simulated",
        "runs",
        "before",
        "after",
        "change",
        "automatic",
        "decided_by",
        "proposed_at",
    ]
    list_filter = ["status", "simulated"]
    list_select_related = ["decided_by"]
    fields = [*list_display, "decided_at", "each_change"]
    readonly_fields = ["before", "after", "change", "each_change"]
    actions = ["approve", "reject"]

    def has_decide_permission(self, request: HttpRequest) -> bool:
        """Rates hold for every workshop: superusers, and whom they gave the right to."""
        return request.user.has_perm("market.change_rateversion")

    @admin.display(description=_("error before"), ordering="error_before")
    def before(self, row: RateVersion) -> str:
        return _percent(row.error_before)

    @admin.display(description=_("error after"), ordering="error_after")
    def after(self, row: RateVersion) -> str:
        return _percent(row.error_after)

    @admin.display(description=_("largest change"), ordering="largest_change")
    def change(self, row: RateVersion) -> str:
        return _percent(row.largest_change)

    @admin.display(description=_("changes"))
    def each_change(self, row: RateVersion) -> str:
        words = gettext("%(model)s on %(gpu)s: %(change)s, from %(runs)s runs")
        told: list[tuple[str]] = [
            (
                words
                % {
                    "model": one["model_class"],
                    "gpu": one["gpu"] or "?",
                    "change": _percent(one["change"]),
                    "runs": one["runs"],
                },
            )
            for one in row.changes
        ]
        return format_html_join("", "<div>{}</div>", told)

    @admin.action(permissions=["decide"], description=_("Approve: quotes use it from now on"))
    def approve(self, request: HttpRequest, queryset: QuerySet[RateVersion]) -> None:
        done = _decide(request, queryset, rate_versions.approve)
        if done:
            messages.success(request, gettext("New quotes use rates %(number)s.") % {"number": done[-1]})

    @admin.action(permissions=["decide"], description=_("Reject: forget what it learned"))
    def reject(self, request: HttpRequest, queryset: QuerySet[RateVersion]) -> None:
        done = _decide(request, queryset, rate_versions.reject)
        if done:
            messages.success(request, gettext("Rejected. Learning goes on from the rates in use."))


@admin.register(StudentBias)
class StudentBiasAdmin(_ReadOnly):
    """How far students' jobs run beyond their estimates."""

    list_display = ["student", "simulated", "jobs", "factor"]
    list_filter = ["simulated"]
    list_select_related = ["student"]
    search_fields = ["student__username"]

    @admin.display(description=_("times the estimate"))
    def factor(self, row: StudentBias) -> str:
        return f"{Bias(row.total, row.weight).factor:.2f}"


def _decide(
    request: HttpRequest, queryset: QuerySet[RateVersion], door: Callable[[int, User], Any]
) -> list[int]:
    """Numbers of the versions decided on, oldest first; those decided before are named."""
    done = []
    for row in queryset.order_by("number"):
        try:
            door(row.pk, person(request))
        except rate_versions.NotProposed as refusal:
            messages.warning(request, str(refusal))
        else:
            done.append(row.number)
    return done


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
