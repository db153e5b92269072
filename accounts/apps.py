from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """People, workshops and who may do what."""

    name = "accounts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from accounts import signals

        signals.connect()
