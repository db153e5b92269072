"""Doors of templates: a draft is made and changed, a published version never changes, a new one follows it.

Of one slug students see the newest version that is published and not withdrawn. Who looks after a workshop's
rules writes; `by` is None for the site itself (imports, the demo class).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils.text import slugify
from django.utils.translation import gettext as _

from accounts import access, audit, clock
from accounts.models import User, Workshop
from jobs.job_types import registry
from jobs.job_types.base import Problem, Refusal
from jobs.models import Template

CHANGEABLE = ("name", "description", "category", "payload", "form", "model_files")
MAX_MODEL_FILES = 40
LONGEST_SLUG = 80


class NotYours(PermissionError):
    """Only those who look after a workshop's rules change its templates."""


class Published(Exception):
    """A version that was published stays as it is; make a new one."""


class SlugTaken(ValueError):
    """The workshop has a template of that slug."""


def create(
    workshop: Workshop,
    by: User | None,
    *,
    name: str,
    payload: dict[str, Any],
    form: Sequence[Mapping[str, Any]],
    slug: str = "",
    description: str = "",
    category: str = "",
    source: str = "",
    model_files: Sequence[Mapping[str, Any]] = (),
    job_type: str = "comfyui",
) -> Template:
    """A draft, version 1. `payload` is editable (API format), `form` fits it.

    Raises Refusal, NotYours, SlugTaken, UnknownJobType.
    """
    _may_write(by, workshop.pk)
    registry.get(job_type).fits(form, payload)
    row = Template(
        workshop=workshop,
        slug=(slug or slugify(name) or "template")[:LONGEST_SLUG],
        name=name.strip()[:120],
        description=description.strip()[:500],
        category=category.strip()[:40],
        source=source[:120],
        job_type=job_type,
        payload=payload,
        form=[dict(one) for one in form],
        model_files=model_requirements(model_files),
        created_by=by,
    )
    try:
        with transaction.atomic():
            row.save(force_insert=True)
            _record("template.make", row, by)
    except IntegrityError as error:
        raise SlugTaken(_("There is a template called %(slug)s here.") % {"slug": row.slug}) from error
    row.refresh_from_db()
    return row


@transaction.atomic
def change(template: Template, by: User | None, **columns: Any) -> Template:
    """Change a draft. Raises Published for a version that was published once, Refusal, NotYours."""
    _may_write(by, template.workshop_id)
    row = Template.objects.select_for_update(of=("self",)).select_related("workshop").get(pk=template.pk)
    if row.published_at is not None:
        raise Published(_("This version was published. Make a new version to change it."))
    before = {name: getattr(row, name) for name in columns}
    _take(row, columns)
    row.save(update_fields=list(columns))
    told = {name: value for name, value in columns.items() if name != "payload"}
    before.pop("payload", None)
    _record("template.change", row, by, before=before, after=told)
    return row


@transaction.atomic
def new_version(template: Template, by: User | None, **columns: Any) -> Template:
    """A draft that begins as this version and is numbered after the newest. Raises Refusal, NotYours."""
    _may_write(by, template.workshop_id)
    family = Template.objects.filter(workshop_id=template.workshop_id, slug=template.slug)
    # The family's rows are locked, so that two who ask at once get two numbers.
    list(family.select_for_update().order_by("pk").values_list("pk", flat=True))
    newest = family.aggregate(newest=Max("version"))["newest"]
    row = Template.objects.select_related("workshop").get(pk=template.pk)
    row.pk, row.version, row.created_by = None, newest + 1, by
    row.published_at = row.withdrawn_at = None
    row.paused_reason = ""
    row.created_at = clock.now()
    row._state.adding = True
    _take(row, columns)
    row.save(force_insert=True)
    _record("template.version", row, by)
    return row


@transaction.atomic
def publish(template: Template, by: User | None, *, after: Mapping[str, Any] | None = None) -> Template:
    """Show it to the workshop; the version shown before is withdrawn. Again: the same.

    `after`: what else the audit row should tell (its ceiling, a warning). Raises NotYours.
    """
    _may_write(by, template.workshop_id)
    now = clock.now()
    family = Template.objects.filter(workshop_id=template.workshop_id, slug=template.slug)
    rows = {row.pk: row for row in family.select_for_update().order_by("pk")}
    row = rows[template.pk]
    if row.published_at is not None and row.withdrawn_at is None:
        return row
    for other in rows.values():
        if other.pk != row.pk and other.published_at is not None and other.withdrawn_at is None:
            other.withdrawn_at = now
            other.save(update_fields=["withdrawn_at"])
    row.published_at, row.withdrawn_at = row.published_at or now, None
    row.save(update_fields=["published_at", "withdrawn_at"])
    _record("template.publish", row, by, after=dict(after or {}))
    return row


@transaction.atomic
def withdraw(template: Template, by: User | None, *, reason: str = "") -> Template:
    """Hide it from students; jobs ordered before go on. Again: the same. Raises NotYours."""
    _may_write(by, template.workshop_id)
    row = Template.objects.select_for_update(of=("self",)).get(pk=template.pk)
    if row.withdrawn_at is None:
        row.withdrawn_at = clock.now()
        row.save(update_fields=["withdrawn_at"])
        _record("template.withdraw", row, by, reason=reason)
    return row


# --- models ----------------------------------------------------------------------------------


def model_requirements(given: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Requirements as they are stored: [{folder, name, size_bytes, licence, commercial, url}].

    `size_bytes` None: not known; `commercial` None: nobody has said. Raises Refusal.
    """
    found: list[dict[str, Any]] = []
    for one in given:
        folder, name = str(one.get("folder") or ""), str(one.get("name") or "")
        size_bytes, commercial = one.get("size_bytes"), one.get("commercial")
        sized = size_bytes is None or (isinstance(size_bytes, int) and size_bytes >= 0)
        if not name or not sized or commercial not in (None, True, False):
            said = f"{name or 'A model'}: a model has a name, a size in bytes and a licence."
            raise Refusal(Problem("bad_model_file", said, field=name[:200]))
        found.append(
            {
                "folder": folder[:80],
                "name": name[:200],
                "size_bytes": size_bytes,
                "licence": str(one.get("licence") or "")[:120],
                "commercial": commercial,
                "url": str(one.get("url") or "")[:500],
            }
        )
    if len(found) > MAX_MODEL_FILES:
        raise Refusal(Problem("bad_model_file", f"A template names at most {MAX_MODEL_FILES} models."))
    return found


def licence_refusal(template: Template, workshop: Workshop) -> str:
    """Why the workshop's rule on licences keeps it back, naming the models; "" where nothing does."""
    if not workshop.commercial_licences_only:
        return ""
    barred = [one["name"] for one in template.model_files if one.get("commercial") is False]
    unknown = [one["name"] for one in template.model_files if one.get("commercial") is None]
    if barred:
        said = _(
            "Not offered here: %(names)s may not be used commercially, which this workshop asks of models."
        )
        return said % {"names": ", ".join(barred)}
    if unknown:
        said = _("Not offered here: nobody has said whether %(names)s may be used commercially.")
        return said % {"names": ", ".join(unknown)}
    return ""


# --- small parts -----------------------------------------------------------------------------


def _may_write(by: User | None, workshop_id: int) -> None:
    if by is not None and not access.may_grant(by, workshop_id):
        raise NotYours("Only those who look after a workshop's rules change its templates.")


def _take(row: Template, columns: Mapping[str, Any]) -> None:
    unknown = set(columns) - set(CHANGEABLE)
    if unknown:
        raise TypeError(f"templates don't take {', '.join(sorted(unknown))}")
    for name, value in columns.items():
        setattr(row, name, model_requirements(value) if name == "model_files" else value)
    registry.get(row.job_type).fits(row.form, row.payload)


def _record(action: str, row: Template, by: User | None, **rest: Any) -> None:
    rest.setdefault("after", {"name": row.name, "version": row.version})
    audit.record(action, f"template:{row.pk}", actor=by, workshop_id=row.workshop_id, **rest)
