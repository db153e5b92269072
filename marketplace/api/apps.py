from django.apps import AppConfig


class ApiConfig(AppConfig):
    """The api room: no tables of its own."""

    name = "marketplace.api"
    label = "api"
