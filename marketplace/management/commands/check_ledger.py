"""Prove the ledger, and that jobs and holds agree."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.ledger import audit
from marketplace.market import settlement


class Command(BaseCommand):
    help = "Prove the ledger: exit 1 and say what is wrong, with ids, if it can't be."

    def handle(self, *args: Any, **options: Any) -> None:
        found = list(map(str, audit.findings()))
        found += [f"{fault.check}: {fault.message}: {fault.job_id}" for fault in settlement.job_findings()]
        if found:
            raise CommandError("\n".join(found), returncode=1)
        self.stdout.write("The ledger is proven: sums, balances, holds, moves, lots, allowance, jobs.")
