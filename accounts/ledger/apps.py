from django.apps import AppConfig


class LedgerConfig(AppConfig):
    """The credit ledger: private tables, one write door, one read door."""

    name = "accounts.ledger"
    label = "ledger"
    verbose_name = "Ledger"
    default_auto_field = "django.db.models.BigAutoField"
