"""Routes of the agent API. Files, which stream, are answered at the edge (`edge.py`)."""

from django.urls import path

from marketplace.api import agent_views

app_name = "agent_api"
urlpatterns = [
    path("handshake", agent_views.handshake),
    path("inventory", agent_views.inventory),
    path("manifest", agent_views.model_manifest),
    path("manifest/progress", agent_views.model_progress),
    path("heartbeat", agent_views.heartbeat),
    path("reports", agent_views.reports),
    path("attempts/<int:attempt>/spec", agent_views.spec),
    path("<path:rest>", agent_views.unknown),
]
