"""Door of the model manifests: which files a workshop needs on its GPU hosts, and how far those have them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import structlog
from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from accounts import access, audit
from accounts.clock import MarketNow
from accounts.models import User, Workshop
from gpu_agent.protocol.manifest import (
    HAVE,
    MAX_MANIFEST_FILES,
    Manifest,
    ManifestFile,
    ManifestProgress,
    ModelProgress,
    ModelState,
    path_fault,
)
from gpu_agent.protocol.messages import PROTOCOL_VERSION
from jobs.models import Template
from marketplace.fleet import registry
from marketplace.fleet.models import Agent, ModelManifestEntry, ModelReport
from marketplace.live import publish

log = structlog.get_logger(__name__)
MAX_SOURCES = 5
MAX_ADDRESS_CHARACTERS = 1_000
MAX_BYTES = 2**50
_SHA256 = re.compile(r"[0-9a-f]{64}")


class NotYours(PermissionError):
    """Only a workshop's teachers change its manifest."""


class BadEntry(ValueError):
    """A value makes no sense. `field` names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Needed:
    """What published templates ask for beyond the manifest. `left_out`: (file, why it cannot be listed)."""

    missing: tuple[ManifestFile, ...]
    left_out: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a host is, for people. Bytes of files whose size nobody knows count as what arrived."""

    files: int
    there: int
    received_bytes: int
    total_bytes: int
    bytes_per_second: int
    ended: bool
    troubles: tuple[str, ...]  # "vae/ae.safetensors: truncated, …"

    @property
    def complete(self) -> bool:
        return self.there == self.files

    @property
    def words(self) -> str:
        """One line for a device's card."""
        said = _("%(there)s of %(files)s model files, %(got)s of %(all)s GB") % {
            "there": self.there,
            "files": self.files,
            "got": f"{self.received_bytes / 1e9:.1f}",
            "all": f"{self.total_bytes / 1e9:.1f}",
        }
        if self.ended:
            return said
        return _("%(said)s, %(rate)s MB/s") % {"said": said, "rate": f"{self.bytes_per_second / 1e6:.0f}"}


# --- what is needed --------------------------------------------------------------------------


@transaction.atomic
def keep(
    workshop: Workshop, by: User | None, file: ManifestFile, *, entry: ModelManifestEntry | None = None
) -> ModelManifestEntry:
    """Add a file to the manifest, or change `entry` to it. NotYours, BadEntry."""
    _may_write(by, workshop.pk)
    check(file)
    twins = ModelManifestEntry.objects.filter(workshop=workshop, folder=file.folder, name=file.name)
    if entry is not None:
        twins = twins.exclude(pk=entry.pk)
    elif ModelManifestEntry.objects.filter(workshop=workshop).count() >= MAX_MANIFEST_FILES:
        raise BadEntry("name", _("A manifest names at most %(n)s files.") % {"n": MAX_MANIFEST_FILES})
    if twins.exists():
        raise BadEntry("name", _("This file is in the manifest already."))
    row = entry or ModelManifestEntry(workshop=workshop)
    before = None if entry is None else _words(ModelManifestEntry.objects.get(pk=entry.pk))
    row.folder, row.name, row.sources = file.folder, file.name, list(file.sources)
    row.size_bytes, row.sha256 = file.size_bytes, file.sha256
    row.licence, row.gated = file.licence, file.gated
    row.save()
    action = "manifest.change" if entry else "manifest.add"
    audit.record(
        action, f"model:{row}"[:120], actor=by, workshop_id=workshop.pk, before=before, after=_words(row)
    )
    return row


@transaction.atomic
def remove(entry: ModelManifestEntry, by: User | None) -> None:
    """Take a file out of the manifest; hosts keep what they have. NotYours."""
    _may_write(by, entry.workshop_id)
    audit.record(
        "manifest.remove",
        f"model:{entry}"[:120],
        actor=by,
        workshop_id=entry.workshop_id,
        before=_words(entry),
    )
    entry.delete()


def needed(workshop: Workshop) -> Needed:
    """What the workshop's published templates need and its manifest does not name."""
    known = {
        (folder.lower(), name.lower())
        for folder, name in ModelManifestEntry.objects.filter(workshop=workshop).values_list("folder", "name")
    }
    missing: dict[str, ManifestFile] = {}
    left_out: dict[str, str] = {}
    shown = Template.objects.filter(workshop=workshop, published_at__isnull=False, withdrawn_at=None)
    for template in shown.order_by("pk"):
        for required in template.model_files:
            file = _required(required)
            if (file.folder.lower(), file.name.lower()) in known or file.path in missing:
                continue
            try:
                check(file)
            except BadEntry as fault:
                left_out[file.path.strip("/")] = str(fault)
            else:
                missing[file.path] = file
    return Needed(tuple(missing.values()), tuple(left_out.items()))


@transaction.atomic
def add_needed(workshop: Workshop, by: User | None) -> list[ModelManifestEntry]:
    """Add what `needed` names; the new rows. Again: none. NotYours."""
    _may_write(by, workshop.pk)
    Workshop.objects.select_for_update().get(pk=workshop.pk)  # a second click waits and finds nothing
    return [keep(workshop, by, file) for file in needed(workshop).missing]


def check(file: ManifestFile) -> None:
    """Whether the file may stand in a manifest. BadEntry."""
    fault = path_fault(file.folder, file.name)
    if fault:
        raise BadEntry("name", _("No place for a model file: %(fault)s.") % {"fault": fault})
    if file.size_bytes is not None and not 0 < file.size_bytes <= MAX_BYTES:
        raise BadEntry("size_bytes", _("A size is a number of bytes above 0."))
    if file.sha256 and not _SHA256.fullmatch(file.sha256):
        raise BadEntry("sha256", _("A SHA-256 has 64 lowercase hex digits."))
    if len(file.sources) > MAX_SOURCES:
        raise BadEntry("sources", _("At most %(n)s addresses.") % {"n": MAX_SOURCES})
    for source in file.sources:
        _check_source(source)


# --- what hosts are told and tell ------------------------------------------------------------


def of_agent(agent: Agent) -> Manifest:
    """The files this agent's host shall have: its workshop's, or those of all open workshops.

    Where two workshops mean different bytes by one name the older entry stands: one folder holds one file.
    """
    rows = ModelManifestEntry.objects.filter(workshop__closed_at=None).order_by("pk")
    if agent.workshop_id is not None:
        rows = rows.filter(workshop_id=agent.workshop_id)
    files: dict[str, ManifestFile] = {}
    for row in rows:
        file = as_file(row)
        first = files.setdefault(file.path, file)
        if first.sha256 and file.sha256 and first.sha256 != file.sha256:
            log.warning("manifest.two_meanings", file=file.path, workshop=row.workshop_id)
    return Manifest(PROTOCOL_VERSION, tuple(list(files.values())[:MAX_MANIFEST_FILES]))


def take_progress(agent: Agent, words: ManifestProgress) -> None:
    """Keep what a host says of its files. ProtocolMismatch, BadValue."""
    registry.check_message(words.protocol, None)
    if len(words.files) > MAX_MANIFEST_FILES:
        raise registry.BadValue("files", f"at most {MAX_MANIFEST_FILES} files")
    if words.bytes_per_second < 0 or any(file.received_bytes < 0 for file in words.files):
        raise registry.BadValue("files", "bytes cannot be negative")
    before = standing(agent)
    with transaction.atomic():
        row, _made = ModelReport.objects.update_or_create(
            agent=agent,
            defaults={
                "files": [_kept(file) for file in words.files],
                "bytes_per_second": words.bytes_per_second,
                "ended": words.ended,
                "reported_at": MarketNow(),
            },
        )
        now = standing_of(row)
        # Bytes alone tick every few seconds; that would send every browser of the class for its page.
        if before is None or (before.there, before.ended) != (now.there, now.ended):
            for workshop_id in _workshops(agent):
                publish.workshop_changed(workshop_id)


def standing(agent: Agent) -> Standing | None:
    """How far the agent's host is; None when it never told, or nothing is asked of it."""
    report = ModelReport.objects.filter(agent=agent).first()
    if report is None or not report.files:
        return None
    return standing_of(report)


def standings(agents: Iterable[Agent]) -> dict[str, Standing]:
    """Agent id → how far its host is, of those that told, in one query."""
    reports = ModelReport.objects.filter(agent__in=[agent.pk for agent in agents])
    return {report.agent_id: standing_of(report) for report in reports if report.files}


def standing_of(report: ModelReport) -> Standing:
    """A report, summed up."""
    there = [one for one in report.files if one["state"] in HAVE]
    return Standing(
        files=len(report.files),
        there=len(there),
        received_bytes=sum(one["received_bytes"] for one in report.files),
        total_bytes=sum(one["size_bytes"] or one["received_bytes"] for one in report.files),
        bytes_per_second=report.bytes_per_second,
        ended=report.ended,
        troubles=tuple(_trouble(one) for one in report.files if one["message"] and one not in there),
    )


def as_file(row: ModelManifestEntry) -> ManifestFile:
    """The row as hosts are told it."""
    return ManifestFile(
        folder=row.folder,
        name=row.name,
        sources=tuple(row.sources),
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        licence=row.licence,
        gated=row.gated,
    )


# --- small parts -----------------------------------------------------------------------------


def _may_write(by: User | None, workshop_id: int) -> None:
    if by is not None and not access.may_grant(by, workshop_id):
        raise NotYours("Only those who look after a workshop's rules change its model manifest.")


def _check_source(source: str) -> None:
    try:
        parts = urlsplit(source)
        fits = parts.scheme == "https" and parts.hostname and not parts.username and source.isprintable()
    except ValueError:
        fits = False
    if not fits or len(source) > MAX_ADDRESS_CHARACTERS or " " in source:
        said = _("%(source)s is not an https address, or carries a password.")
        raise BadEntry("sources", said % {"source": source[:80]})


def _required(one: dict[str, Any]) -> ManifestFile:
    url = str(one.get("url") or "")
    size_bytes = one.get("size_bytes")
    return ManifestFile(
        folder=str(one.get("folder") or ""),
        name=str(one.get("name") or ""),
        sources=(url,) if url else (),
        size_bytes=size_bytes if isinstance(size_bytes, int) and size_bytes > 0 else None,
        sha256=str(one.get("sha256") or "").lower(),
        licence=str(one.get("licence") or "")[:120],
        gated=bool(one.get("gated")),
    )


def _kept(file: ModelProgress) -> dict[str, Any]:
    return {
        "folder": file.folder[:80],
        "name": file.name[:200],
        "state": file.state.value,
        "received_bytes": file.received_bytes,
        "size_bytes": file.size_bytes,
        "sha256": file.sha256 if _SHA256.fullmatch(file.sha256) else "",
        "message": file.message[:300],
    }


def _trouble(one: dict[str, Any]) -> str:
    return f"{one['folder']}/{one['name']}: {ModelState(one['state']).value}, {one['message']}"


def _words(row: ModelManifestEntry) -> dict[str, Any]:
    file = as_file(row)
    # A signed address opens the file to whoever reads the audit.
    sources = [source.partition("?")[0] for source in file.sources]
    return {**file.to_dict(), "sources": sources}


def _workshops(agent: Agent) -> Iterable[int]:
    open_ones = Workshop.objects.filter(closed_at=None)
    serves = Q() if agent.workshop_id is None else Q(pk=agent.workshop_id)
    return open_ones.filter(serves).values_list("pk", flat=True)
