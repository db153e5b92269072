from django.apps import AppConfig
from django.conf import settings


class JobsConfig(AppConfig):
    """What was asked for: jobs, attempts, events, artifacts."""

    name = "jobs"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from jobs.job_types import registry

        registry.register(settings.JOB_TYPES)
