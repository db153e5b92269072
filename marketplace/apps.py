from django.apps import AppConfig


class MarketplaceConfig(AppConfig):
    """The project itself: management commands."""

    name = "marketplace"
