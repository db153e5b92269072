"""Templates in the admin: from a workflow file to a published form. Teachers see their own workshops' only.

Every step is a door's; what the doors refuse is told on the page.
"""

from typing import Any

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext_lazy as _

from accounts.admin_scope import TaughtWorkshops, WorkshopScoped
from jobs.models import Template
from marketplace.web import admin_templates as pages


@admin.register(Template)
class TemplateAdmin(WorkshopScoped):
    """Workflows exposed as forms: drafts, published versions, withdrawn ones."""

    list_display = ["name", "version", "state", "workshop", "category", "source", "published_at"]
    list_filter = [("workshop", TaughtWorkshops), "category"]
    list_select_related = ["workshop"]
    search_fields = ["name", "slug"]
    ordering = ["workshop", "slug", "-version"]

    @admin.display(description=_("State"))
    def state(self, row: Template) -> str:
        return pages.state_words(row)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_view_permission(request)

    def get_urls(self) -> list[URLPattern]:
        own = [
            path(f"<int:object_id>/{name}/", self.admin_site.admin_view(view), name=f"jobs_template_{name}")
            for name, view in (
                ("publish", self.publish),
                ("withdraw", self.withdraw),
                ("version", self.version),
            )
        ]
        return [*own, *super().get_urls()]

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        return pages.new(self.admin_site, request)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        return pages.edit(self.admin_site, request, self._row(request, object_id))

    def publish(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return pages.publish(self.admin_site, request, self._row(request, object_id))

    def withdraw(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return pages.withdraw(request, self._row(request, object_id))

    def version(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return pages.version(request, self._row(request, object_id))

    def _row(self, request: HttpRequest, object_id: str | int) -> Template:
        row: Template | None = self.get_object(request, str(object_id))
        if row is None:
            raise Http404
        return row
