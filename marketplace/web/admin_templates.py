"""Pages of the templates' admin: a file brought, fields chosen, published with its price in view."""

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from accounts import access
from accounts.admin_scope import person
from accounts.ledger.credits import format_credits
from accounts.models import User, Workshop
from jobs import templates
from jobs.job_types import registry
from jobs.job_types.base import AssumedUploads, Refusal, Surroundings
from jobs.job_types.comfyui import form as template_forms
from jobs.job_types.comfyui import known_models
from jobs.models import Template
from marketplace.fleet import registry as fleet
from marketplace.market import publishing
from marketplace.market.quoting import NoAgentYet

MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_CANDIDATES = 60
REFUSALS = (Refusal, NoAgentYet, templates.SlugTaken, templates.NotYours, templates.Published)
_LIMITS = ("minimum", "maximum", "step")


class FileForm(forms.Form):
    """A new template: where, of which workflow."""

    workshop = forms.ModelChoiceField(
        Workshop.objects.none(), label=_("Workshop"), widget=UnfoldAdminSelectWidget()
    )
    name = forms.CharField(label=_("Name"), max_length=120, widget=UnfoldAdminTextInputWidget())
    description = forms.CharField(
        label=_("Description"), max_length=500, required=False, widget=UnfoldAdminTextInputWidget()
    )
    category = forms.CharField(
        label=_("Category"), max_length=40, required=False, widget=UnfoldAdminTextInputWidget(),
        help_text=_("Text to image, upscale …"),
    )  # fmt: skip
    file = forms.FileField(
        label=_("Workflow file"), widget=UnfoldAdminFileFieldWidget(),
        help_text=_("A ComfyUI file in either format, or a picture made with one."),
    )  # fmt: skip

    def __init__(self, *args: Any, teacher: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["workshop"]
        if isinstance(field, forms.ModelChoiceField):
            field.queryset = access.taught_workshops(teacher).filter(closed_at=None)


class WordsForm(forms.Form):
    """A draft's words, and a file in its workflow's place."""

    name = forms.CharField(label=_("Name"), max_length=120, widget=UnfoldAdminTextInputWidget())
    description = forms.CharField(
        label=_("Description"), max_length=500, required=False, widget=UnfoldAdminTextInputWidget()
    )
    category = forms.CharField(
        label=_("Category"), max_length=40, required=False, widget=UnfoldAdminTextInputWidget()
    )
    file = forms.FileField(
        label=_("Another workflow file"), required=False, widget=UnfoldAdminFileFieldWidget(),
        help_text=_("Fields that fit it are kept."),
    )  # fmt: skip


class FieldForm(forms.Form):
    """One input that may be exposed."""

    keep = forms.BooleanField(label=_("Show"), required=False, widget=UnfoldBooleanWidget())
    label = forms.CharField(label=_("Label"), max_length=120, widget=UnfoldAdminTextInputWidget())
    help = forms.CharField(
        label=_("Help"), max_length=500, required=False, widget=UnfoldAdminTextInputWidget()
    )
    minimum = forms.FloatField(label=_("Least"), required=False, widget=UnfoldAdminTextInputWidget())
    maximum = forms.FloatField(label=_("Most"), required=False, widget=UnfoldAdminTextInputWidget())
    step = forms.FloatField(label=_("Step"), required=False, widget=UnfoldAdminTextInputWidget())
    choices = forms.CharField(
        label=_("Choices, one a line"), required=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3})
    )

    def __init__(self, *args: Any, kind: str = "text", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if kind not in ("integer", "number"):
            for name in _LIMITS:
                del self.fields[name]
        if kind != "choice":
            del self.fields["choices"]


def new(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Bring a workflow; a draft with proposed fields comes of it."""
    teacher = person(request)
    form = FileForm(request.POST or None, request.FILES or None, teacher=teacher)
    if request.method == "POST" and form.is_valid():
        asked = form.cleaned_data
        try:
            payload, fields, models = read(asked["workshop"], asked["file"].read(MAX_FILE_BYTES))
            row = templates.create(
                asked["workshop"],
                teacher,
                name=asked["name"],
                description=asked["description"],
                category=asked["category"],
                payload=payload,
                form=fields,
                model_files=models,
            )
        except REFUSALS as refusal:
            form.add_error(None, _said(refusal))
        else:
            return redirect("admin:jobs_template_change", row.pk)
    return _page(site, request, "template_new", gettext("New template"), form=form)


def edit(site: AdminSite, request: HttpRequest, row: Template) -> HttpResponse:
    """A draft's words and fields; a published version to read."""
    if row.published_at is not None:
        return _page(site, request, "template_shown", row.name, row=row, **_state(row, person(request)))
    found = _candidates(row)
    words = WordsForm(
        request.POST or None,
        request.FILES or None,
        initial={"name": row.name, "description": row.description, "category": row.category},
    )
    rows = [
        (
            one,
            FieldForm(request.POST or None, prefix=f"field{n}", kind=one["kind"], initial=_initial(row, one)),
        )
        for n, one in enumerate(found)
    ]
    if request.method == "POST" and words.is_valid() and all(form.is_valid() for _one, form in rows):
        try:
            _save(row, person(request), words.cleaned_data, rows)
        except REFUSALS as refusal:
            words.add_error(None, _said(refusal))
        else:
            messages.success(request, gettext("Saved."))
            return redirect("admin:jobs_template_change", row.pk)
    context = {"row": row, "form": words, "rows": rows, **_state(row, person(request))}
    return _page(site, request, "template_draft", row.name, **context)


def publish(site: AdminSite, request: HttpRequest, row: Template) -> HttpResponse:
    """Publish it; where it is dear, or has no price, that is confirmed first."""
    seen = publishing.outlook(row, person(request))
    if request.method == "POST" and (not seen.warning or request.POST.get("confirmed")):
        publishing.publish(row, person(request), seen=seen)
        messages.success(request, gettext("%(name)s is published.") % {"name": row})
        return redirect("admin:jobs_template_change", row.pk)
    return _page(
        site, request, "template_publish", gettext("Publish %(name)s") % {"name": row}, row=row, seen=seen
    )


def withdraw(request: HttpRequest, row: Template) -> HttpResponse:
    """Hide it from students."""
    if request.method == "POST":
        templates.withdraw(row, person(request), reason=request.POST.get("reason", "")[:200])
        messages.success(request, gettext("%(name)s is withdrawn.") % {"name": row})
    return redirect("admin:jobs_template_change", row.pk)


def version(request: HttpRequest, row: Template) -> HttpResponse:
    """A draft that begins as this version."""
    if request.method != "POST":
        return redirect("admin:jobs_template_change", row.pk)
    made = templates.new_version(row, person(request))
    return redirect("admin:jobs_template_change", made.pk)


def read(
    workshop: Workshop, body: bytes, job_type: str = "comfyui"
) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """(payload, proposed fields, models it needs) of a workflow file. Raises Refusal, NoAgentYet."""
    around = fleet.surroundings(workshop)
    if not around.node_definitions:
        raise NoAgentYet(
            gettext("No GPU has been connected yet: nothing says what the workflow's nodes take.")
        )
    kind = registry.get(job_type)
    payload = kind.editable(kind.parse(body), around)
    assumed = Surroundings(
        node_definitions=around.node_definitions,
        any_model=True,  # a teacher may prepare what the GPU hosts get later
        uploads=AssumedUploads(),
        allowed_node_types=around.allowed_node_types,
        limits=around.limits,
    )
    checked = kind.check(payload, assumed)
    return payload, kind.form(payload, around), _requirements(checked.model_files)


def state_words(row: Template) -> str:
    """Draft, published or withdrawn."""
    if row.withdrawn_at is not None:
        return gettext("Withdrawn")
    return gettext("Draft") if row.published_at is None else gettext("Published")


# --- small parts -----------------------------------------------------------------------------


def _requirements(loaded: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """What is known of the models; of a stranger nobody has said anything."""
    return [
        one if one["licence"] else {**one, "size_bytes": None, "commercial": None}
        for one in known_models.rows(loaded)
    ]


def _candidates(row: Template) -> list[dict[str, Any]]:
    """The form's fields as they are, then what else could be exposed."""
    shown = [dict(one) for one in row.form]
    taken = {place for one in template_forms.fields(row.form) for place in one.places}
    names = {str(one["name"]) for one in shown}
    around = fleet.surroundings(row.workshop)
    for one in registry.get(row.job_type).form(row.payload, around) if around.node_definitions else ():
        if (one["node"], one["input"]) not in taken:
            one["name"] = _fresh(str(one["name"]), names)
            names.add(one["name"])
            shown.append(one)
    return shown[:MAX_CANDIDATES]


def _fresh(name: str, taken: set[str]) -> str:
    number, made = 2, name
    while made in taken:
        made, number = f"{name}_{number}", number + 1
    return made


def _initial(row: Template, one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{name: one.get(name) for name in ("label", "help", *_LIMITS)},
        "keep": any(shown["name"] == one["name"] for shown in row.form),
        "choices": "\n".join(str(each) for each in one.get("choices") or ()),
    }


def _save(
    row: Template, teacher: User, words: Mapping[str, Any], rows: Sequence[tuple[dict[str, Any], FieldForm]]
) -> None:
    form = [_field(one, each.cleaned_data) for one, each in rows if each.cleaned_data["keep"]]
    columns: dict[str, Any] = {name: words[name] for name in ("name", "description", "category")}
    if words["file"]:
        payload, _proposed, models = read(row.workshop, words["file"].read(MAX_FILE_BYTES), row.job_type)
        columns |= {"payload": payload, "model_files": models}
        form = [one for one in form if _fits(row.job_type, one, payload)]
    templates.change(row, teacher, form=form, **columns)


def _fits(job_type: str, one: dict[str, Any], payload: dict[str, Any]) -> bool:
    try:
        registry.get(job_type).fits([one], payload)
    except Refusal:
        return False
    return True


def _field(one: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """The field with what its teacher typed; numbers that are whole stay whole."""
    made = {**one, "label": said["label"], "help": said["help"]}
    for name in _LIMITS:
        if name in said:
            value = said[name]
            made[name] = int(value) if value is not None and value == int(value) else value
    if "choices" in said:
        typed = [line.strip() for line in said["choices"].splitlines() if line.strip()]
        known = {str(each): each for each in one.get("choices") or ()}
        made["choices"] = [known.get(each, each) for each in typed]
    return made


def _state(row: Template, teacher: User) -> dict[str, Any]:
    seen = publishing.outlook(row, teacher)
    return {
        "state": state_words(row),
        "warning": seen.warning,
        "price": None if seen.price_milli is None else format_credits(seen.price_milli),
        "ceiling": None if seen.ceiling_milli is None else format_credits(seen.ceiling_milli),
        "fields": template_forms.fields(row.form),
    }


def _said(refusal: Exception) -> str:
    if isinstance(refusal, Refusal):
        return " ".join(problem.message for problem in refusal.problems[:10])
    return str(refusal)


def _page(site: AdminSite, request: HttpRequest, name: str, title: str, **context: Any) -> HttpResponse:
    everything = {**site.each_context(request), "opts": Template._meta, "title": title, **context}
    return render(request, f"web/admin/{name}.html", everything)
