"""Templates that come from elsewhere: our own starters, and ComfyUI's official package where it is installed.

Harmless to repeat: what is there already and the same stays, what changed becomes a new version. The official
ones are drafts, for hundreds of them come at once; a teacher publishes what the class needs.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from django.db import transaction
from django.utils.text import slugify

from accounts.models import User, Workshop
from jobs import templates
from jobs.job_types import registry
from jobs.job_types.base import AssumedUploads, Refusal, Surroundings
from jobs.job_types.comfyui import known_models
from jobs.job_types.comfyui.starters import STARTERS
from jobs.models import Template
from marketplace.fleet import registry as fleet
from marketplace.market.quoting import NoAgentYet

PACKAGE = re.compile(r"comfyui[-_]workflow[-_]templates")
MAX_FILE_BYTES = 8 * 1024 * 1024
_LISTS = re.compile(r"index(\..*)?\.json|.*\.schema\.json|fuse_options\.json|index_logo\.json")


class NotInstalled(LookupError):
    """The official template package is not installed."""


@dataclass(slots=True)
class Imported:
    """What an import did: slugs, and (name, why) of what could not be taken."""

    made: list[str] = field(default_factory=list)
    renewed: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Official:
    """A workflow of the official package, in the editor's format."""

    name: str
    title: str
    description: str
    category: str
    data: dict[str, Any]


def import_starters(workshop: Workshop, by: User | None = None) -> Imported:
    """Publish our starters in the workshop. Raises NotYours."""
    done = Imported()
    for one in STARTERS:
        columns = {
            "name": one.name,
            "description": one.description,
            "category": one.category,
            "payload": one.payload,
            "form": one.form,
            "model_files": one.model_files,
        }
        made = _put(workshop, by, done, one.slug, f"starter:{one.slug}", columns)
        if made is not None:
            templates.publish(made, by)
    return done


def import_official(workshop: Workshop, by: User | None = None) -> Imported:
    """Take every workflow of the official package that the workshop's GPUs and rules allow, as a draft.

    Raises NotInstalled, NoAgentYet, NotYours.
    """
    around = fleet.surroundings(workshop)
    if not around.node_definitions:
        raise NoAgentYet("No GPU has been connected yet: nothing says what its nodes take.")
    assumed = Surroundings(
        node_definitions=around.node_definitions,
        any_model=True,
        uploads=AssumedUploads(),
        allowed_node_types=around.allowed_node_types,
    )
    done = Imported()
    for one in official():
        try:
            columns = official_columns(one, assumed)
        except Refusal as refusal:
            done.refused.append((one.name, str(refusal)))
            continue
        slug = slugify(one.name)[: templates.LONGEST_SLUG]
        _put(workshop, by, done, slug, f"official:{one.name}"[:120], columns)
    return done


def official_columns(one: Official, around: Surroundings) -> dict[str, Any]:
    """Columns of a template made of it: converted, checked, with a proposed form. Raises Refusal."""
    kind = registry.get("comfyui")
    payload = kind.editable(one.data, around)
    checked = kind.check(payload, around)
    kept = {node: body for node, body in payload.items() if node in checked.payload}
    form = kind.form(kept, around)
    kind.fits(form, kept)
    return {
        "name": one.title[:120],
        "description": one.description[:500],
        "category": one.category[:40],
        "payload": kept,
        "form": form,
        "model_files": _requirements(one, checked.model_files),
    }


def official() -> Iterator[Official]:
    """The workflows of the installed package, by name. Raises NotInstalled."""
    files = {
        Path(str(file)).name: Path(str(found.locate_file(file)))
        for found in metadata.distributions()
        if PACKAGE.match(str(found.metadata["Name"] or "").lower())
        for file in found.files or ()
        if "templates" in file.parts[:-1] and file.suffix == ".json"
    }
    if not files:
        raise NotInstalled("The package comfyui-workflow-templates is not installed here.")
    told = _index(files.get("index.json"))
    for name in sorted(files):
        if _LISTS.fullmatch(name) or files[name].stat().st_size > MAX_FILE_BYTES:
            continue
        data = json.loads(files[name].read_bytes())
        stem = name.removesuffix(".json")
        words = told.get(stem, {})
        if isinstance(data, dict) and isinstance(data.get("nodes"), list):
            yield Official(
                stem,
                str(words.get("title") or stem.replace("_", " ")),
                str(words.get("description") or ""),
                str((words.get("tags") or [words.get("category") or ""])[0]),
                data,
            )


@transaction.atomic
def _put(
    workshop: Workshop, by: User | None, done: Imported, slug: str, source: str, columns: dict[str, Any]
) -> Template | None:
    """The new draft, None where what is there is the same, or is no longer of this source."""
    newest = Template.objects.filter(workshop=workshop, slug=slug).order_by("-version").first()
    if newest is None:
        done.made.append(slug)
        return templates.create(workshop, by, slug=slug, source=source, **columns)
    wanted = {**columns, "model_files": templates.model_requirements(columns["model_files"])}
    if newest.source != source or all(getattr(newest, name) == value for name, value in wanted.items()):
        done.same.append(slug)
        return None
    done.renewed.append(slug)
    if newest.published_at is None:
        return templates.change(newest, by, **columns)
    return templates.new_version(newest, by, **columns)


def _index(path: Path | None) -> dict[str, Mapping[str, Any]]:
    """Name → what the package's own list says of it."""
    found = json.loads(path.read_bytes()) if path is not None else []
    return {
        str(one.get("name")): {"category": group.get("title", ""), **one}
        for group in (found if isinstance(found, list) else [])
        if isinstance(group, dict)
        for one in group.get("templates") or ()
        if isinstance(one, dict)
    }


def _requirements(one: Official, loaded: tuple[tuple[str, str], ...]) -> list[dict[str, Any]]:
    """What is known of the models it loads; where nothing is, the address the file itself gives."""
    told = {model["name"]: model for model in _models_in(one.data) if isinstance(model.get("name"), str)}
    rows = known_models.rows(loaded)
    for row in rows:
        mark = told.get(row["name"], {})
        unknown = not row["licence"]
        row["url"] = row["url"] or str(mark.get("url") or "")
        row["size_bytes"] = row["size_bytes"] or None
        row["commercial"] = None if unknown else row["commercial"]
    return rows


def _models_in(data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The `models` marks of all nodes, subgraphs' too."""
    inner = (data.get("definitions") or {}).get("subgraphs") or ()
    for level in (data, *inner):
        for node in level.get("nodes") or ():
            for model in (node.get("properties") or {}).get("models") or ():
                if isinstance(model, Mapping):
                    yield model
