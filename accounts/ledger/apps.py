from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class LedgerConfig(AppConfig):
    """The credit ledger: private tables, one write door, one read door."""

    name = "accounts.ledger"
    label = "ledger"
    verbose_name = "Ledger"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        post_migrate.connect(make_house_accounts, sender=self)


def make_house_accounts(sender: AppConfig, using: str, **kwargs: Any) -> None:
    """House, issuance and expired accounts. Not a data migration: tests flush tables, and this runs after it."""
    accounts = sender.get_model("LedgerAccount")
    accounts.objects.using(using).bulk_create(
        [accounts(pk=pk, kind=kind) for pk, kind in ((1, "house"), (2, "issuance"), (3, "expired"))],
        ignore_conflicts=True,
    )
