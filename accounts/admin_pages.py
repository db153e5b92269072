"""Pages of the admin for a whole class: granting credits (form, preview, done, undo), importing a roster."""

import base64
import binascii
import uuid
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminSelectMultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextInputWidget,
)

from accounts import granting, roster
from accounts.admin_scope import person
from accounts.ledger import bulk, credits
from accounts.models import Workshop


class AdminGrantForm(granting.GrantForm):
    """The form in the admin's clothes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        dress = {
            "amount": UnfoldAdminTextInputWidget,
            "to": UnfoldAdminSelectWidget,
            "students": UnfoldAdminSelectMultipleWidget,
            "roster": UnfoldAdminFileFieldWidget,
            "source": UnfoldAdminSelectWidget,
            "reason": UnfoldAdminTextInputWidget,
            "expires_at": UnfoldAdminSplitDateTimeWidget,
        }
        for name, widget in dress.items():
            field = self.fields[name]
            field.widget = widget()
            if isinstance(field, forms.ChoiceField):
                field.choices = field.choices  # hands them to the new widget
            field.widget.is_required = field.required


class UndoForm(granting.UndoForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].widget = UnfoldAdminTextInputWidget()


class RosterForm(forms.Form):
    file = forms.FileField(label=_("CSV file"), widget=UnfoldAdminFileFieldWidget())


def grant(site: AdminSite, request: HttpRequest, workshop: Workshop) -> HttpResponse:
    """Form, then preview, then give."""
    at = granting.walk(request, person(request), workshop, AdminGrantForm)
    if at.step == "given":
        return redirect("admin:accounts_workshop_batch", object_id=workshop.pk, key=at.key)
    if at.preview is None:
        return _page(site, request, workshop, "grant", _("Grant credits"), form=at.form)
    words = _preview_words(at.preview)
    title = _("Grant credits: preview")
    return _page(site, request, workshop, "grant_preview", title, form=at.form, preview=words, sent=at.sent)


def batch(site: AdminSite, request: HttpRequest, workshop: Workshop, key: uuid.UUID) -> HttpResponse:
    """What a batch gave, what an undo would bring back or has brought back, and the undo."""
    form = UndoForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            bulk.undo(key=key, actor=person(request), reason=form.cleaned_data["reason"])
        except bulk.REFUSALS as refusal:
            form.add_error(None, str(refusal))
        else:
            return redirect("admin:accounts_workshop_batch", object_id=workshop.pk, key=key)
    story = bulk.story(key, workshop)
    if story is None:
        raise Http404
    return _page(site, request, workshop, "batch", _("Credits given"), form=form, story=_story_words(story))


def roster_import(site: AdminSite, request: HttpRequest, workshop: Workshop) -> HttpResponse:
    """Choose a file, see what each row would do, import it."""
    actor = person(request)
    form = RosterForm(request.POST or None, request.FILES or None)
    try:
        if request.method == "POST" and request.POST.get("step") == "import":
            done = roster.load(workshop, _unpacked(request.POST.get("data", "")), actor)
            told = gettext("%(n)s people imported, %(refused)s rows left out.")
            messages.success(request, told % {"n": done.imported, "refused": done.count("refused")})
            return _page(
                site, request, workshop, "roster", _("Roster imported"), form=RosterForm(), plan=done
            )
        if request.method == "POST" and form.is_valid():
            data = form.cleaned_data["file"].read(roster.MAX_BYTES + 1)
            planned = roster.plan(workshop, data, actor)
            return _page(
                site,
                request,
                workshop,
                "roster",
                _("Import roster: dry run"),
                form=form,
                plan=planned,
                data=base64.b64encode(data).decode(),
            )
    except roster.RosterRefused as refusal:
        messages.error(request, str(refusal))
        form = RosterForm()
    return _page(site, request, workshop, "roster", _("Import roster"), form=form)


def _page(
    site: AdminSite,
    request: HttpRequest,
    workshop: Workshop,
    name: str,
    title: Any,
    **context: Any,
) -> HttpResponse:
    everything = {
        **site.each_context(request),
        "opts": Workshop._meta,
        "title": title,
        "workshop": workshop,
        **context,
    }
    return render(request, f"accounts/{name}.html", everything)


def _preview_words(preview: bulk.Preview) -> dict[str, Any]:
    words = credits.format_credits
    return {
        "rows": [
            {
                "name": row.name,
                "team": row.team,
                "now": words(row.available_milli),
                "after": words(row.after_milli),
            }
            for row in preview.rows
        ],
        "amount": words(preview.amount_milli),
        "total": words(preview.total_milli),
        "pool": None if preview.pool_milli is None else words(preview.pool_milli),
        "pool_after": None if preview.pool_after_milli is None else words(preview.pool_after_milli),
    }


def _story_words(story: bulk.Story) -> dict[str, Any]:
    words = credits.format_credits
    return {
        "rows": [
            {
                "name": row.name,
                "given": words(row.given_milli),
                "back": words(row.back_milli),
                "kept": words(row.kept_milli),
                "kept_any": row.kept_milli > 0,
            }
            for row in story.rows
        ],
        "reason": story.reason,
        "actor": story.actor,
        "at": story.at,
        "undone_at": story.undone_at,
        "undone_by": story.undone_by,
        "total": words(sum(row.given_milli for row in story.rows)),
        "back": words(sum(row.back_milli for row in story.rows)),
        "kept": words(sum(row.kept_milli for row in story.rows)),
        "kept_names": [row.name for row in story.rows if row.kept_milli],
    }


def _unpacked(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as fault:
        raise roster.RosterRefused("The file did not come through; choose it again.") from fault
