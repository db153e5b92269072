"""Credits for a class, from the site: whom and how much, the preview, the giving, and the undo."""

import uuid
from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from accounts import access, granting
from accounts.ledger import balances, bulk
from accounts.models import Workshop
from marketplace.web.context import workshop_of
from marketplace.web.guard import SignedInRequest, signed_in

REFUSED = 400


class GrantForm(granting.GrantForm):
    """The form in the pages' clothes."""

    field_order = ("amount", "to", "source", "reason", "expires_at", "roster", "students", "key")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        students = self.fields["students"]
        assert isinstance(students, forms.MultipleChoiceField)
        offered = students.choices
        students.widget = forms.CheckboxSelectMultiple()
        students.choices = offered  # hands them to the new widget
        self.fields["expires_at"].widget = forms.SplitDateTimeWidget(
            date_attrs={"type": "date"}, time_attrs={"type": "time"}
        )
        for name in ("amount", "to", "roster", "source", "reason", "expires_at"):
            widgets = getattr(self.fields[name].widget, "widgets", [self.fields[name].widget])
            for widget in widgets:
                widget.attrs["class"] = "input"


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def grant(request: SignedInRequest) -> HttpResponse:
    """Form, then preview, then give; and what was given lately."""
    workshop = _taught(request)
    at = granting.walk(request, request.user, workshop, GrantForm)
    if at.step == "given":
        return redirect("web:class_batch", key=at.key)
    context = {
        "section": "class_credits",
        "at": at,
        "pools": balances.pools(workshop),
        "recent": bulk.recent(workshop),
        "may_issue": access.may_issue(request.user, workshop.pk),
    }
    return render(request, "web/class_credits.html", context, status=REFUSED if at.form.errors else 200)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def batch(request: SignedInRequest, key: uuid.UUID) -> HttpResponse:
    """What a batch gave, what an undo would bring back or has brought back, and the undo."""
    workshop = _taught(request)
    form = granting.UndoForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            bulk.undo(key=key, actor=request.user, reason=form.cleaned_data["reason"])
        except bulk.REFUSALS as refusal:
            form.add_error(None, str(refusal))
        else:
            return redirect("web:class_batch", key=key)
    story = bulk.story(key, workshop)
    if story is None:
        raise Http404
    context = {
        "section": "class_credits",
        "story": story,
        "form": form,
        "total_milli": sum(row.given_milli for row in story.rows),
        "back_milli": sum(row.back_milli for row in story.rows),
        "kept_milli": sum(row.kept_milli for row in story.rows),
        "kept": [row for row in story.rows if row.kept_milli],
    }
    return render(request, "web/class_batch.html", context, status=REFUSED if form.errors else 200)


def _taught(request: SignedInRequest) -> Workshop:
    """The current workshop, for who may hand out its credits; nobody else comes here."""
    workshop = workshop_of(request)
    if workshop is None or not access.may_grant(request.user, workshop.pk):
        raise PermissionDenied
    return workshop
