"""Give credits to many from the shell: preview, then --yes; or --undo a batch."""

import uuid
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts import roster
from accounts.ledger import bulk, credits
from accounts.models import User, Workshop


class Command(BaseCommand):
    help = (
        "Grant credits to a class, a team, some students or a roster file. Shows who gets what; --yes gives "
        "it. The same --key again changes nothing; --undo KEY takes back what is unspent."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("workshop", help="slug")
        parser.add_argument("amount", nargs="?", help="credits for each, as in 12.50")
        parser.add_argument("--by", required=True, metavar="USERNAME", help="who gives them")
        parser.add_argument("--reason", required=True, help="what the students' statements say")
        to = parser.add_mutually_exclusive_group()
        to.add_argument("--team")
        to.add_argument("--to", nargs="+", metavar="EMAIL")
        to.add_argument("--roster", type=Path, metavar="FILE", help="CSV with an email column")
        parser.add_argument(
            "--pool", nargs="?", const="", metavar="TEAM", help="from the class's pool, or a team's"
        )
        parser.add_argument("--key", type=uuid.UUID, help="the batch's key, from a preview")
        parser.add_argument("--yes", action="store_true")
        parser.add_argument("--undo", type=uuid.UUID, metavar="KEY")

    def handle(self, *args: Any, **options: Any) -> None:
        workshop = Workshop.objects.filter(slug=options["workshop"]).first()
        actor = User.objects.filter(username=options["by"]).first()
        if workshop is None or actor is None:
            raise CommandError("there is no such workshop" if workshop is None else "there is no such user")
        try:
            if options["undo"]:
                self._undo(actor, options)
            else:
                self._grant(actor, workshop, options)
        except (*bulk.REFUSALS, roster.RosterRefused) as refusal:
            raise CommandError(str(refusal)) from refusal

    def _grant(self, actor: User, workshop: Workshop, options: dict[str, Any]) -> None:
        if options["amount"] is None:
            raise CommandError("say how many credits each of them gets")
        emails = options["to"]
        if options["roster"]:
            emails = roster.plan(workshop, options["roster"].read_bytes(), actor).emails
        request: dict[str, Any] = {
            "actor": actor,
            "workshop": workshop,
            "students": bulk.class_of(workshop, team=options["team"], emails=emails),
            "amount_milli": credits.parse_credits(options["amount"]),
            "from_pool": options["pool"] is not None,
            "team_pool": options["pool"] or "",
        }
        key = options["key"] or uuid.uuid4()
        if not options["yes"]:
            self._show(bulk.preview(**request), key)
            return
        done = bulk.confirm(key=key, reason=options["reason"], **request)
        total = credits.format_credits(done.total_milli)
        before = "had been given before: nothing changed" if done.replayed else "given"
        self.stdout.write(f"{total} credits to {len(done.rows)} students {before}. Undo with --undo {key}")

    def _show(self, preview: bulk.Preview, key: uuid.UUID) -> None:
        for row in preview.rows:
            now, after = credits.format_credits(row.available_milli), credits.format_credits(row.after_milli)
            self.stdout.write(f"{row.name:<40} {now:>12} → {after:>12}")
        self.stdout.write(
            f"{credits.format_credits(preview.total_milli)} credits in all. Repeat with --yes --key {key}"
        )

    def _undo(self, actor: User, options: dict[str, Any]) -> None:
        undone = bulk.undo(key=options["undo"], actor=actor, reason=options["reason"])
        self.stdout.write(f"{credits.format_credits(undone.back_milli)} credits came back.")
        for row in undone.kept:
            kept = credits.format_credits(row.kept_milli)
            self.stdout.write(f"{row.name} had spent {kept} of them, or has them set aside.")
