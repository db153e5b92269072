"""People and workshops in the admin. Teachers look after their own workshops; superusers after everything."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import action
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminTextareaWidget

from accounts import access, admin_pages, audit
from accounts.admin_scope import ReadOnly, TaughtWorkshops, WorkshopScoped, person
from accounts.ledger import admin_pages as ledger_pages
from accounts.ledger import pool_pages
from accounts.models import ApiToken, AuditRow, ClassSession, Enrolment, User, Workshop

admin.site.unregister(Group)  # rights come from enrolments


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):  # type: ignore[misc, type-arg]
    """People; for superusers."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ["username", "display_name", "email", "is_active", "is_superuser", "last_login"]
    list_filter = ["is_active", "is_superuser", "enrolments__workshop"]
    search_fields = ["username", "display_name", "email"]
    ordering = ["username"]
    filter_horizontal = ()
    fieldsets = [
        (None, {"fields": ["username", "password"]}),
        (_("Person"), {"fields": ["display_name", "email"]}),
        (_("Rights"), {"fields": ["is_active", "is_staff", "is_superuser"]}),
        (_("Times"), {"fields": ["last_login", "date_joined"]}),
    ]

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False  # their statement stays; is_active lets nobody in


class NamesField(forms.CharField):
    """A list of names, one a line."""

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(map(str, value)) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        return [line.strip() for line in str(value or "").splitlines() if line.strip()]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool((initial or []) != self.to_python(data))


@admin.register(Workshop)
class WorkshopAdmin(WorkshopScoped):
    """Courses, with what staff do to a whole class."""

    workshop_path = "pk"
    list_display = ["name", "slug", "seats", "policy", "ends_at", "closed_at"]
    search_fields = ["name", "slug"]
    # The mode re-keys the whole line, so it is switched on the class page; its door knows the line.
    readonly_fields = ["created_at", "policy", "fairness_phi"]
    actions_detail = ["grant_credits", "import_roster", "issue_credits", "pools"]

    @action(description=_("Grant credits"), url_path="grant", permissions=["change"])  # type: ignore[untyped-decorator]
    def grant_credits(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return admin_pages.grant(self.admin_site, request, self._workshop(request, object_id))

    @action(description=_("Issue credits"), url_path="issue", permissions=["issue"])  # type: ignore[untyped-decorator]
    def issue_credits(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return ledger_pages.issue(self.admin_site, request, self._workshop(request, object_id))

    @action(description=_("Pools"), url_path="pools", permissions=["change"])  # type: ignore[untyped-decorator]
    def pools(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return pool_pages.pools(self.admin_site, request, self._workshop(request, object_id))

    @action(description=_("Import roster"), url_path="roster", permissions=["change"])  # type: ignore[untyped-decorator]
    def import_roster(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return admin_pages.roster_import(self.admin_site, request, self._workshop(request, object_id))

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "allowed_node_types":
            told = _("Class names of nodes beyond ComfyUI's own that may run here, one a line.")
            return NamesField(required=False, widget=UnfoldAdminTextareaWidget(), help_text=told)
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def has_issue_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return object_id is not None and access.may_issue(person(request), int(object_id))

    def get_urls(self) -> list[URLPattern]:
        batch = path(
            "<int:object_id>/batches/<uuid:key>/",
            self.admin_site.admin_view(self.batch),
            name="accounts_workshop_batch",
        )
        return [batch, *super().get_urls()]

    def batch(self, request: HttpRequest, object_id: int, key: Any) -> HttpResponse:
        return admin_pages.batch(self.admin_site, request, self._workshop(request, object_id), key)

    def save_model(self, request: HttpRequest, obj: Workshop, form: Any, change: bool) -> None:
        told = {
            name: (str(form.initial.get(name)), str(form.cleaned_data[name])) for name in form.changed_data
        }
        changed = {name: values for name, values in told.items() if values[0] != values[1]}
        super().save_model(request, obj, form, change)
        audit.record(
            "workshop.change" if change else "workshop.make",
            f"workshop:{obj.pk}",
            actor=person(request),
            workshop_id=obj.pk,
            before={name: values[0] for name, values in changed.items()},
            after={name: values[1] for name, values in changed.items()},
        )

    def _workshop(self, request: HttpRequest, object_id: int) -> Workshop:
        return get_object_or_404(access.taught_workshops(person(request)), pk=object_id)


@admin.register(ClassSession)
class ClassSessionAdmin(WorkshopScoped):
    """Openings of a workshop: their clock gives the hourly allowance. Its state is turned on the class page,
    where what follows from it is done."""

    list_display = ["workshop", "title", "opens_at", "closes_at", "state"]
    list_filter = [("workshop", TaughtWorkshops), "state"]
    list_select_related = ["workshop"]
    date_hierarchy = "opens_at"
    readonly_fields = ["state"]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_view_permission(request)

    def save_model(self, request: HttpRequest, obj: ClassSession, form: Any, change: bool) -> None:
        if change:
            obj.save(update_fields=form.changed_data)  # the clock may have moved on since the form was shown
        else:
            obj.save()
        audit.record(
            "session.change" if change else "session.make",
            f"session:{obj.pk}",
            actor=person(request),
            workshop_id=obj.workshop_id,
            after={
                "opens_at": obj.opens_at.isoformat(),
                "closes_at": obj.closes_at.isoformat(),
                "state": obj.state,
            },
        )


@admin.register(Enrolment)
class EnrolmentAdmin(WorkshopScoped):
    """Who is in which workshop. Teachers change teams and aliases; roles come by the roster."""

    list_display = ["user", "workshop", "role", "team", "alias", "joined_at"]
    list_filter = [("workshop", TaughtWorkshops), "role"]
    list_select_related = ["user", "workshop"]
    search_fields = ["user__username", "user__display_name", "user__email", "team"]
    autocomplete_fields = ["user"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        fixed = ["created_at", "joined_at"]
        if obj is not None:
            fixed += ["user", "workshop"]
        return fixed if request.user.is_superuser else [*fixed, "role"]


@admin.register(ApiToken)
class ApiTokenAdmin(ModelAdmin):  # type: ignore[misc]
    """Keys to the API; their text is known to their owners alone."""

    list_display = ["user", "name", "prefix", "created_at", "last_used_at", "revoked_at"]
    list_select_related = ["user"]
    exclude = ["sha256"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(AuditRow)
class AuditRowAdmin(ReadOnly):
    """What staff did, to whom, and why; refusals too."""

    list_display = ["at", "actor", "action", "subject", "reason", "workshop"]
    list_filter = ["action", ("workshop", TaughtWorkshops)]
    list_select_related = ["actor", "workshop"]
    search_fields = ["subject", "reason", "actor__username"]
