"""Routes of the site."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("marketplace.web.urls")),
    path("", include("marketplace.api.urls")),
    path("agent/v1/", include("marketplace.api.agent_urls")),
    path("admin/", admin.site.urls),
]
