from django.apps import AppConfig


class MarketConfig(AppConfig):
    """Quotes, orders, dispatch, settlement."""

    name = "marketplace.market"
    label = "market"
    default_auto_field = "django.db.models.BigAutoField"
