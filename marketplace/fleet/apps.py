from django.apps import AppConfig


class FleetConfig(AppConfig):
    """Agents and their devices."""

    name = "marketplace.fleet"
    label = "fleet"
    default_auto_field = "django.db.models.BigAutoField"
