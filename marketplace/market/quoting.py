"""Quotes: a submission is checked, priced and stored with its expiry."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from datetime import timedelta
from functools import cached_property
from typing import Any

from django.conf import settings
from django.utils.translation import gettext

from accounts import access
from accounts.models import User, Workshop
from gpu_agent.protocol.messages import NodeWork
from jobs.job_types import registry as job_types
from jobs.job_types.base import (
    Checked,
    Demand,
    Problem,
    Refusal,
    Surroundings,
    UploadedFile,
    stored_name,
)
from jobs.models import Template, Upload
from marketplace.fleet import registry as fleet
from marketplace.market import hints, price_list
from marketplace.market.models import Quote, Sweep
from marketplace.pricing.quote import LineItem

LONGEST_TITLE = 200
# Flat, and many of each: dataclasses.asdict would take a tenth of a quote's time on them.
_LINE_PARTS = tuple(part.name for part in fields(LineItem))
_WORK_PARTS = tuple(part.name for part in fields(NodeWork))


class NotAllowed(PermissionError):
    """This user may not do that here."""


class WorkshopClosed(Exception):
    """The workshop is closed: nothing more is taken."""


class NoAgentYet(Exception):
    """No agent has ever said what it can run, so nothing can be checked or priced."""


def quote(
    student: User,
    workshop: Workshop,
    body: bytes | dict[str, Any],
    *,
    title: str = "",
    job_type: str = "comfyui",
    template: Template | None = None,
    form_values: Mapping[str, object] | None = None,
    sweep: Sweep | None = None,
) -> Quote:
    """Check and price a submission; stored with its expiry.

    `body` is what runs, a file or strictly decoded JSON; `template` and `form_values` say where it came from.
    Raises Refusal with all that is wrong, NoAgentYet, NotAllowed, WorkshopClosed, UnknownJobType.
    """
    row = prepare(
        student,
        workshop,
        body,
        title=title,
        job_type=job_type,
        template=template,
        form_values=form_values,
        sweep=sweep,
    )
    row.save(force_insert=True)
    return row


def prepare(
    student: User,
    workshop: Workshop,
    body: bytes | dict[str, Any],
    *,
    title: str = "",
    job_type: str = "comfyui",
    template: Template | None = None,
    form_values: Mapping[str, object] | None = None,
    sweep: Sweep | None = None,
) -> Quote:
    """The same quote, not stored: what a form shows while its values change. Raises as `quote`."""
    must_be_open(student, workshop)
    kind = job_types.get(job_type)
    payload = kind.parse(body) if isinstance(body, bytes) else kind.accept(body)
    around = _surroundings(student, workshop)
    checked = kind.check(payload, around)
    demand = kind.demand(checked)
    prices = price_list.of(workshop, student)
    priced = prices.price(demand, job_type=job_type, template=template)
    told = priced.quote
    requirements = _permitted(hints.requirements(kind, checked, template), workshop)
    return Quote(
        workshop=workshop,
        student=student,
        title=_title(title, demand),
        job_type=job_type,
        payload=checked.payload,
        inputs=[_input(one) for one in checked.inputs],
        nodes=_nodes(checked, priced.demand),
        summary=demand.summary[:200],
        lines=[{part: getattr(line, part) for part in _LINE_PARTS} for line in told.lines],
        quote_milli=told.quote_milli,
        ceiling_milli=told.ceiling_milli,
        milli_per_gpu_second=prices.base_milli,
        rate_version=told.rate_version,
        gpu_seconds=told.gpu_seconds,
        estimate_seconds=demand.gpu_seconds,
        bias_factor=priced.bias,
        loading_seconds=told.loading_seconds,
        seconds_p50=told.seconds_p50,
        seconds_p90=told.seconds_p90,
        vram_bytes=priced.demand.vram_bytes,
        estimate_vram_bytes=demand.vram_bytes,
        model_key=demand.model_key[:200],
        model_class=demand.model_class[:40],
        model_files=[list(one) for one in checked.model_files],
        template=template,
        form_values=dict(form_values or {}),
        sweep=sweep,
        hints=hints.of(
            kind,
            checked,
            around,
            prices=prices,
            price_milli=told.quote_milli,
            workshop=workshop,
            template=template,
        ),
        requirements=requirements,
        node_types=list(checked.node_types),
        expires_at=prices.now + timedelta(seconds=settings.QUOTE_LIFETIME_SECONDS),
    )


def must_be_open(student: User, workshop: Workshop) -> None:
    """Raises WorkshopClosed, NotAllowed."""
    if workshop.closed_at is not None:
        raise WorkshopClosed(f"{workshop.name} is closed.")
    if not access.may_submit(student, workshop):
        raise NotAllowed(f"You are not enrolled in {workshop.name}.")


def _permitted(requirements: list[dict[str, Any]], workshop: Workshop) -> list[dict[str, Any]]:
    """The models' rows. Raises Refusal for those whose licence the workshop's rule keeps out."""
    if not workshop.commercial_licences_only:
        return requirements
    words = gettext(
        "%(name)s may not be used commercially (%(licence)s), and %(workshop)s takes only models that may."
    )
    problems = [
        Problem(
            "licence",
            words % {"name": row["name"], "licence": row["licence"], "workshop": workshop.name},
        )
        for row in hints.barred(requirements)
    ]
    if problems:
        raise Refusal(*problems)
    return requirements


def _surroundings(student: User, workshop: Workshop) -> Surroundings:
    around = fleet.surroundings(workshop)
    if not around.node_definitions:
        raise NoAgentYet("No GPU has been connected yet, so nothing can be checked or priced.")
    return replace(around, uploads=_Uploads(student, workshop))


class _Uploads(Mapping[str, UploadedFile]):
    """A student's files by name, fetched at the first question: most workflows read none."""

    def __init__(self, student: User, workshop: Workshop) -> None:
        self._rows = Upload.objects.filter(owner=student, workshop=workshop)

    def __getitem__(self, name: str) -> UploadedFile:
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    @cached_property
    def _found(self) -> dict[str, UploadedFile]:
        return {
            row.name: UploadedFile(row.sha256, row.name, row.size_bytes, row.width, row.height, row.frames)
            for row in self._rows
        }


def _input(upload: UploadedFile) -> dict[str, object]:
    return {
        "sha256": upload.sha256,
        "name": stored_name(upload),
        "size_bytes": upload.size_bytes,
        "title": upload.name,
    }


def _nodes(checked: Checked, demand: Demand) -> dict[str, dict[str, object]]:
    """What the agent is told of each node: lines of one node add up."""
    nodes: dict[str, NodeWork] = {}
    for line in demand.lines:
        known = nodes.get(line.node)
        nodes[line.node] = NodeWork(
            title=checked.titles.get(line.node, line.node_type),
            seconds=line.gpu_seconds + (known.seconds if known else 0.0),
            loader=line.loader if known is None else line.loader and known.loader,
            sampler=line.sampler or (known.sampler if known else False),
        )
    return {node: {part: getattr(work, part) for part in _WORK_PARTS} for node, work in nodes.items()}


def _title(title: str, demand: Demand) -> str:
    words = " ".join(title.split()) or demand.summary or "Untitled"
    return words[:LONGEST_TITLE]
