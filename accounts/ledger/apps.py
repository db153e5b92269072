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
        from accounts.ledger import signals

        post_migrate.connect(make_house_accounts, sender=self)
        signals.connect()


def make_house_accounts(sender: AppConfig, using: str, **kwargs: Any) -> None:
    """House, issuance and expired accounts. Not a data migration: tests flush, and this runs after it."""
    accounts = sender.get_model("LedgerAccount")
    accounts._default_manager.using(using).bulk_create(
        [accounts(pk=pk, kind=kind) for pk, kind in ((1, "house"), (2, "issuance"), (3, "expired"))],
        ignore_conflicts=True,
    )
