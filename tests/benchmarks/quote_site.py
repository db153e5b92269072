"""The site with one endpoint more: what the `quote` benchmark compares with.

The endpoint stands behind the same layers and the same authentication, parses the same body with DRF's own
parser, and inserts one row that holds it.
"""

import uuid
from typing import Any

from django.conf import settings
from django.urls import path

from marketplace.asgi import application
from marketplace.urls import urlpatterns as of_the_site

settings.ROOT_URLCONF = __name__

from rest_framework.request import Request  # noqa: E402 - needs the settings
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402

from jobs.models import Chore  # noqa: E402

__all__ = ["application", "urlpatterns"]


class ReferenceView(APIView):
    """The least an endpoint can do with such a body."""

    def post(self, request: Request) -> Response:
        row = Chore.objects.create(kind="reference", subject=uuid.uuid4().hex, data=request.data)
        return Response({"id": row.pk}, status=201)


urlpatterns: list[Any] = [path("api/v1/reference", ReferenceView.as_view()), *of_the_site]
