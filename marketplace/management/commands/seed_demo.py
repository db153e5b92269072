"""Make the demo class: `manage.py seed_demo`."""

from typing import Any

from django.core.management.base import BaseCommand

from marketplace.quickstart import demo_class
from marketplace.quickstart.logins import LOGINS


class Command(BaseCommand):
    help = "Make the demo class, its people and credits; harmless to repeat."

    def handle(self, *args: Any, **options: Any) -> None:
        workshop = demo_class.seed()
        self.stdout.write(f"{workshop.name}:")
        for login in LOGINS:
            self.stdout.write(f"  {login.username} / {login.password}")
