"""The model manifest in the admin, and how far each host has it. Registered from `admin.py`."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import StackedInline
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextareaWidget

from accounts import access
from accounts.admin_scope import TaughtWorkshops, WorkshopScoped, person
from gpu_agent.protocol.manifest import ManifestFile
from marketplace.fleet import manifest
from marketplace.fleet.models import ModelManifestEntry, ModelReport


class EntryForm(forms.ModelForm):  # type: ignore[type-arg]
    """A file of the manifest; its addresses one a line. What the door refuses is shown at its field."""

    sources = forms.CharField(
        label=_("Sources"),
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text=_("https addresses, one a line, best first. Hosts look at their drive and store before."),
    )

    class Meta:
        model = ModelManifestEntry
        fields = ("workshop", "folder", "name", "sources", "size_bytes", "sha256", "licence", "gated")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["sources"] = "\n".join(self.instance.sources)

    def clean_sources(self) -> list[str]:
        return [line.strip() for line in self.cleaned_data["sources"].splitlines() if line.strip()]

    def clean_sha256(self) -> str:
        return str(self.cleaned_data["sha256"]).strip().lower()

    def clean(self) -> dict[str, Any]:
        told = super().clean() or {}
        if not self.errors:
            try:
                manifest.check(self.file())
            except manifest.BadEntry as fault:
                self.add_error(fault.field, str(fault))
        return told

    def file(self) -> ManifestFile:
        """What was filled in."""
        told = self.cleaned_data
        return ManifestFile(
            folder=told["folder"],
            name=told["name"],
            sources=tuple(told["sources"]),
            size_bytes=told["size_bytes"],
            sha256=told["sha256"],
            licence=told["licence"],
            gated=told["gated"],
        )


class ModelManifestEntryAdmin(WorkshopScoped):
    """Files a workshop needs on its GPU hosts. Teachers keep their own workshop's."""

    form = EntryForm
    list_display = ("name", "folder", "workshop", "size", "has_sha256", "licence", "gated")
    list_filter = (("workshop", TaughtWorkshops), "gated", "folder")
    list_select_related = ("workshop",)
    search_fields = ("name", "folder", "licence")
    actions_list = ("add_needed",)

    @admin.display(description=_("Size"), ordering="size_bytes")
    def size(self, row: ModelManifestEntry) -> str:
        return "–" if row.size_bytes is None else f"{row.size_bytes / 1e9:.2f} GB"

    @admin.display(description="SHA-256", boolean=True)
    def has_sha256(self, row: ModelManifestEntry) -> bool:
        return bool(row.sha256)

    @action(  # type: ignore[untyped-decorator]
        description=_("Add what the published templates need"), url_path="needed", permissions=["change"]
    )
    def add_needed(self, request: HttpRequest) -> HttpResponse:
        """What each workshop's templates ask for beyond its manifest; a click adds it."""
        places = access.taught_workshops(person(request)).distinct()
        if request.method == "POST":
            workshop = get_object_or_404(places, pk=request.POST.get("workshop"))
            added = len(manifest.add_needed(workshop, person(request)))
            told = ngettext("%(n)s file added.", "%(n)s files added.", added)
            messages.success(request, told % {"n": added})
            return redirect("admin:fleet_modelmanifestentry_changelist")
        page = {
            **self.admin_site.each_context(request),
            "opts": self.model._meta,
            "title": gettext("Add what the published templates need"),
            "rows": [(place, manifest.needed(place)) for place in places],
        }
        return render(request, "fleet/manifest_needed.html", page)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_view_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_view_permission(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["workshop"] if obj else []

    def save_model(self, request: HttpRequest, obj: ModelManifestEntry, form: Any, change: bool) -> None:
        kept = manifest.keep(obj.workshop, person(request), form.file(), entry=obj if change else None)
        obj.pk = kept.pk

    def delete_model(self, request: HttpRequest, obj: ModelManifestEntry) -> None:
        manifest.remove(obj, person(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ModelManifestEntry]) -> None:
        for entry in queryset:
            manifest.remove(entry, person(request))


class ModelReportInline(StackedInline):  # type: ignore[misc]
    """On an agent's page: its host's model files."""

    model = ModelReport
    extra = 0
    fields = ("summary", "troubles", "hashes", "reported_at")
    readonly_fields = fields

    @admin.display(description=_("Model files"))
    def summary(self, report: ModelReport) -> str:
        return manifest.standing_of(report).words

    @admin.display(description=_("Amiss"))
    def troubles(self, report: ModelReport) -> str:
        return "\n".join(manifest.standing_of(report).troubles) or gettext("nothing")

    @admin.display(description=_("SHA-256 of files the manifest could not prove"))
    def hashes(self, report: ModelReport) -> str:
        unproven = [one for one in report.files if one["state"] == "unproven" and one["sha256"]]
        return "\n".join(f"{one['folder']}/{one['name']} {one['sha256']}" for one in unproven) or "–"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def register(site: admin.AdminSite) -> None:
    site.register(ModelManifestEntry, ModelManifestEntryAdmin)
