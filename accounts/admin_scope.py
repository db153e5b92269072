"""Admin classes of a workshop's rows: teachers see their own workshops, superusers all."""

from typing import Any, ClassVar

from django.contrib.admin import RelatedFieldListFilter
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from accounts import access
from accounts.models import User


class TaughtWorkshops(RelatedFieldListFilter):
    """A filter that names no workshop but the user's own."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> list[Any]:
        return [(place.pk, place.name) for place in access.taught_workshops(person(request))]


class WorkshopScoped(ModelAdmin):  # type: ignore[misc]
    """`workshop_path` leads from a row to its workshop's id, "pk" for workshops themselves."""

    workshop_path: ClassVar[str] = "workshop"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request)
        if request.user.is_superuser:
            return rows
        return rows.filter(**{f"{self.workshop_path}__in": access.taught_workshops(person(request))})

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        if not request.user.is_active or not request.user.is_staff:
            return False
        # A single row comes out of `get_queryset`, so one of another workshop is not found.
        return bool(request.user.is_superuser or access.taught_workshops(person(request)).exists())

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.has_view_permission(request, obj)

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return bool(request.user.is_superuser)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "workshop":
            kwargs["queryset"] = access.taught_workshops(person(request))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


class ReadOnly(WorkshopScoped):
    """Rows to look at."""

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


def person(request: HttpRequest) -> User:
    """The signed-in user; admin pages have no other."""
    if not isinstance(request.user, User):
        raise TypeError("nobody is signed in")
    return request.user
