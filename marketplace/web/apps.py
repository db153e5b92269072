from django.apps import AppConfig


class WebConfig(AppConfig):
    """The web room: no tables of its own."""

    name = "marketplace.web"
    label = "web"
