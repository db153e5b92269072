"""Take an agent's access away."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from marketplace.fleet import registry


class Command(BaseCommand):
    help = "Revoke an agent: its token stops working, its connections close, its jobs are requeued."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--reason", default="")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            agent = registry.by_name(options["name"])
        except registry.NoSuchAgent as error:
            raise CommandError(str(error)) from error
        if not registry.revoke(agent, reason=options["reason"]):
            raise CommandError(f"agent {agent.name} was revoked before")
        self.stdout.write(f"Agent {agent.name} is revoked.")
