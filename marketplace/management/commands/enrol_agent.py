"""Enrol a GPU host's agent and show its token, once."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.models import Workshop
from marketplace.fleet import registry


class Command(BaseCommand):
    help = "Enrol an agent: prints the token its process starts with. The token is shown only now."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="what people call it, for example bench-3")
        parser.add_argument("--workshop", help="slug; without it the agent serves any workshop")
        parser.add_argument("--rotate", action="store_true", help="give an enrolled agent a new token")
        parser.add_argument("--json", action="store_true", help="print {agent, name, token} on one line")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["rotate"]:
                agent = registry.by_name(options["name"])
                token = registry.rotate(agent)
            else:
                agent, token = registry.enrol(options["name"], _workshop(options["workshop"]))
        except (registry.NameTaken, registry.NoSuchAgent) as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps({"agent": agent.pk, "name": agent.name, "token": token}))
            return
        self.stdout.write(f"Agent {agent.name} is {agent.pk}. Its token, shown only now:\n\n    {token}\n")
        self.stdout.write("Start it with AGENT_TOKEN set to that: python -m gpu_agent")


def _workshop(slug: str | None) -> Workshop | None:
    if slug is None:
        return None
    try:
        return Workshop.objects.get(slug=slug)
    except Workshop.DoesNotExist:
        raise CommandError(f"no workshop has the slug {slug!r}") from None
