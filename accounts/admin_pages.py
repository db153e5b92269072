"""Pages of the admin for a whole class: granting credits (form, preview, done, undo), importing a roster."""

import base64
import binascii
import uuid
from datetime import datetime
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

from accounts import access, roster
from accounts.admin_scope import person
from accounts.ledger import bulk, credits
from accounts.models import Enrolment, User, Workshop

EVERYBODY, SOME = "all", "some"


class GrantForm(forms.Form):
    """Whom, how much, from where, why."""

    amount = forms.CharField(label=_("Credits for each"), widget=UnfoldAdminTextInputWidget())
    to = forms.ChoiceField(label=_("Who"), widget=UnfoldAdminSelectWidget())
    students = forms.MultipleChoiceField(
        label=_("Only these"),
        required=False,
        widget=UnfoldAdminSelectMultipleWidget(),
        help_text=_("Counts if “chosen students” stands above."),
    )
    source = forms.ChoiceField(label=_("From"), widget=UnfoldAdminSelectWidget())
    reason = forms.CharField(
        label=_("Reason"),
        max_length=500,
        widget=UnfoldAdminTextInputWidget(),
        help_text=_("Students read it on their statement."),
    )
    expires_at = forms.SplitDateTimeField(
        label=_("Use by"),
        required=False,
        widget=UnfoldAdminSplitDateTimeWidget(),
        help_text=_("Blank: they last to the course's end. Credits with a date burn first."),
    )
    key = forms.UUIDField(widget=forms.HiddenInput())

    def __init__(self, *args: Any, workshop: Workshop, actor: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        places = Enrolment.objects.filter(workshop=workshop, role=Enrolment.Role.STUDENT).select_related(
            "user"
        )
        teams = sorted({place.team for place in places if place.team})
        self._choose(
            "to",
            [
                (EVERYBODY, _("the whole class (%(n)s)") % {"n": len(places)}),
                *((f"team:{team}", _("team %(team)s") % {"team": team}) for team in teams),
                (SOME, _("chosen students")),
            ],
        )
        named = sorted((place.user.name, place.user_id) for place in places)
        self._choose("students", [(str(user_id), name) for name, user_id in named])
        sources: list[tuple[str, Any]] = [("pool:", _("the class's pool"))]
        sources += [(f"pool:{team}", _("the pool of team %(team)s") % {"team": team}) for team in teams]
        if access.may_issue(actor, workshop.pk):
            sources.append(("issue", _("newly issued credits")))
        self._choose("source", sources)

    def clean_amount(self) -> int:
        try:
            return credits.parse_credits(self.cleaned_data["amount"])
        except credits.InvalidAmount as refusal:
            raise forms.ValidationError(str(refusal)) from refusal

    def request(self, actor: User, workshop: Workshop) -> dict[str, Any]:
        """What the bulk doors ask for. NotEnrolled."""
        told = self.cleaned_data
        chosen = told["to"]
        students = bulk.class_of(
            workshop,
            team=chosen.removeprefix("team:") if chosen.startswith("team:") else None,
            user_ids=[int(pk) for pk in told["students"]] if chosen == SOME else None,
        )
        return {
            "actor": actor,
            "workshop": workshop,
            "students": students,
            "amount_milli": told["amount"],
            "from_pool": told["source"] != "issue",
            "team_pool": told["source"].removeprefix("pool:") if told["source"] != "issue" else "",
        }

    def _choose(self, name: str, choices: list[tuple[str, Any]]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices


class UndoForm(forms.Form):
    reason = forms.CharField(label=_("Reason"), max_length=500, widget=UnfoldAdminTextInputWidget())


class RosterForm(forms.Form):
    file = forms.FileField(label=_("CSV file"), widget=UnfoldAdminFileFieldWidget())


def grant(site: AdminSite, request: HttpRequest, workshop: Workshop) -> HttpResponse:
    """Form, then preview, then give; each step sends the whole form again with the batch's key."""
    actor = person(request)
    if request.method != "POST":
        form = GrantForm(initial={"key": uuid.uuid4(), "to": EVERYBODY}, workshop=workshop, actor=actor)
        return _page(site, request, workshop, "grant", _("Grant credits"), form=form)
    form = GrantForm(request.POST, workshop=workshop, actor=actor)
    if form.is_valid():
        try:
            asked = form.request(actor, workshop)
            if request.POST.get("step") == "give":
                return _give(request, workshop, form, asked)
            if request.POST.get("step") == "preview":
                shown = bulk.preview(**asked)
                return _page(
                    site,
                    request,
                    workshop,
                    "grant_preview",
                    _("Grant credits: preview"),
                    form=form,
                    preview=_preview_words(shown),
                    sent=_sent(request),
                )
        except bulk.REFUSALS as refusal:
            form.add_error(None, str(refusal))
    return _page(site, request, workshop, "grant", _("Grant credits"), form=form)


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


def _give(request: HttpRequest, workshop: Workshop, form: GrantForm, asked: dict[str, Any]) -> HttpResponse:
    told = form.cleaned_data
    expires_at: datetime | None = told["expires_at"]
    bulk.confirm(key=told["key"], reason=told["reason"], expires_at=expires_at, **asked)
    return redirect("admin:accounts_workshop_batch", object_id=workshop.pk, key=told["key"])


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


def _sent(request: HttpRequest) -> list[tuple[str, str]]:
    """The form's fields again, hidden, for the next step."""
    return [
        (name, value)
        for name in request.POST
        if name not in ("csrfmiddlewaretoken", "step")
        for value in request.POST.getlist(name)
    ]


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
