"""Bring templates into workshops: `manage.py import_templates [--official] [--workshop SLUG]`."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.models import Workshop
from marketplace.market import importing
from marketplace.market.quoting import NoAgentYet


class Command(BaseCommand):
    help = (
        "Publish our starter templates in every open workshop, or one; with --official take ComfyUI's own "
        "template package, if it is installed, as drafts. Harmless to repeat."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--official", action="store_true")
        parser.add_argument("--workshop", metavar="SLUG")

    def handle(self, *args: Any, **options: Any) -> None:
        workshops = Workshop.objects.filter(closed_at=None)
        if options["workshop"]:
            workshops = Workshop.objects.filter(slug=options["workshop"])
            if not workshops.exists():
                raise CommandError(f"no workshop has the slug {options['workshop']!r}")
        bring = importing.import_official if options["official"] else importing.import_starters
        for workshop in workshops:
            try:
                done = bring(workshop)
            except (importing.NotInstalled, NoAgentYet) as error:
                raise CommandError(str(error)) from error
            self.stdout.write(
                f"{workshop.slug}: {len(done.made)} new, {len(done.renewed)} renewed, "
                f"{len(done.same)} as before, {len(done.refused)} refused"
            )
            for name, why in done.refused:
                self.stdout.write(f"  {name}: {why[:200]}")
