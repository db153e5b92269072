"""Make the demo class: `manage.py seed_demo`."""

from typing import Any

from django.core.management.base import BaseCommand

from marketplace.quickstart import demo_class


class Command(BaseCommand):
    help = "Make the demo class, its people and credits; harmless to repeat."

    def handle(self, *args: Any, **options: Any) -> None:
        workshop = demo_class.seed()
        self.stdout.write(f"{workshop.name}:")
        for username in demo_class.DEMO_USERS:
            self.stdout.write(f"  {username} / {demo_class.password_of(username)}")
