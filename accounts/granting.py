"""Credits for many, as a page walks through it: form, preview, give; the admin's page and the site's alike.

Each step sends the whole form again with the batch's key, so nothing is kept between them and a double
submit gives once.
"""

import uuid
from dataclasses import dataclass
from typing import Any, Literal

from django import forms
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts import access, roster
from accounts.ledger import bulk, credits
from accounts.models import Enrolment, User, Workshop

EVERYBODY, SOME, ROSTER = "all", "some", "roster"


class GrantForm(forms.Form):
    """Whom, how much, from where, why."""

    amount = forms.CharField(label=_("Credits for each"))
    to = forms.ChoiceField(label=_("Who"))
    students = forms.MultipleChoiceField(
        label=_("Only these"), required=False, help_text=_("Counts if “chosen students” stands above.")
    )
    roster = forms.FileField(
        label=_("Roster file"),
        required=False,
        help_text=_("Counts if “the students of a roster file” stands above: CSV with an email column."),
    )
    source = forms.ChoiceField(label=_("From"))
    reason = forms.CharField(
        label=_("Reason"), max_length=500, help_text=_("Students read it on their statement.")
    )
    expires_at = forms.SplitDateTimeField(
        label=_("Use by"),
        required=False,
        help_text=_("Blank: they last to the course's end. Credits with a date burn first."),
    )
    key = forms.UUIDField(widget=forms.HiddenInput())

    def __init__(self, *args: Any, workshop: Workshop, actor: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.workshop, self.actor = workshop, actor
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
                (ROSTER, _("the students of a roster file")),
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

    def clean(self) -> dict[str, Any]:
        told = super().clean() or {}
        if told.get("to") == ROSTER and not told.get("roster"):
            self.add_error("roster", _("Choose the file."))
        return told

    def asked(self) -> dict[str, Any]:
        """What the bulk doors ask for. bulk.REFUSALS, RosterRefused."""
        told = self.cleaned_data
        return {
            "actor": self.actor,
            "workshop": self.workshop,
            "students": self._students(),
            "amount_milli": told["amount"],
            "from_pool": told["source"] != "issue",
            "team_pool": told["source"].removeprefix("pool:") if told["source"] != "issue" else "",
        }

    def _students(self) -> list[User]:
        to = self.cleaned_data["to"]
        if to == ROSTER:
            data = self.cleaned_data["roster"].read(roster.MAX_BYTES + 1)
            rows = roster.plan(self.workshop, data, self.actor).rows
            named = [row for row in rows if row.role == Enrolment.Role.STUDENT]
            unread = [f"line {row.line}: {row.message}" for row in rows if row.action == "refused"]
            if unread:
                raise roster.RosterRefused(f"Rows of the file can't be used: {'; '.join(unread)}")
            return bulk.class_of(self.workshop, emails=[row.email for row in named])
        return bulk.class_of(
            self.workshop,
            team=to.removeprefix("team:") if to.startswith("team:") else None,
            user_ids=[int(pk) for pk in self.cleaned_data["students"]] if to == SOME else None,
        )

    def _choose(self, name: str, choices: list[tuple[str, Any]]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices


class UndoForm(forms.Form):
    """Why a batch is taken back."""

    reason = forms.CharField(label=_("Reason"), max_length=500)


@dataclass(frozen=True, slots=True)
class Walk:
    """Where the walk stands: the form (with what is wrong), the preview with what the next step sends, or
    done with the batch's key."""

    step: Literal["form", "preview", "given"]
    form: GrantForm
    preview: bulk.Preview | None = None
    sent: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> uuid.UUID:
        key: uuid.UUID = self.form.cleaned_data["key"]
        return key


def walk(request: HttpRequest, actor: User, workshop: Workshop, form_class: type[GrantForm]) -> Walk:
    """One step of it. Refusals stand in the form; nothing is half-done."""
    if request.method != "POST":
        first = {"key": uuid.uuid4(), "to": EVERYBODY}
        return Walk("form", form_class(initial=first, workshop=workshop, actor=actor))
    form = form_class(request.POST, request.FILES, workshop=workshop, actor=actor)
    step = request.POST.get("step")
    if form.is_valid() and step in ("preview", "give"):
        try:
            asked = form.asked()
            if step == "preview":
                return Walk("preview", form, bulk.preview(**asked), _sent(request, form, asked["students"]))
            told = form.cleaned_data
            bulk.confirm(key=told["key"], reason=told["reason"], expires_at=told["expires_at"], **asked)
        except (*bulk.REFUSALS, roster.RosterRefused) as refusal:
            form.add_error(None, str(refusal))
        else:
            return Walk("given", form)
    return Walk("form", form)


def _sent(request: HttpRequest, form: GrantForm, students: list[User]) -> tuple[tuple[str, str], ...]:
    """The form's fields again, hidden, for the next step. A file can't be sent again: whom it named is."""
    by_file = form.cleaned_data["to"] == ROSTER
    left_out = {"csrfmiddlewaretoken", "step", *(("to", "students") if by_file else ())}
    kept = [
        (name, value) for name in request.POST if name not in left_out for value in request.POST.getlist(name)
    ]
    if by_file:
        kept += [("to", SOME), *(("students", str(student.pk)) for student in students)]
    return tuple(kept)
