"""Routes of the student API and of outputs, from the site's root."""

from django.urls import path, re_path
from drf_spectacular.views import SpectacularJSONAPIView

from marketplace.api import market_views, templates, views

app_name = "api"
urlpatterns = [
    path("api/v1/token", views.TokenView.as_view(), name="token"),
    path("api/v1/me", views.MeView.as_view(), name="me"),
    path("api/v1/uploads", views.UploadsView.as_view(), name="uploads"),
    path("api/v1/templates", templates.TemplatesView.as_view(), name="templates"),
    path("api/v1/templates/<int:template_id>", templates.TemplateView.as_view(), name="template"),
    path("api/v1/quotes", views.QuotesView.as_view(), name="quotes"),
    path("api/v1/jobs", views.JobsView.as_view(), name="jobs"),
    path("api/v1/jobs/<uuid:job_id>", views.JobView.as_view(), name="job"),
    path("api/v1/jobs/<uuid:job_id>/cancel", views.CancelView.as_view(), name="cancel"),
    path("api/v1/jobs/<uuid:job_id>/bid", views.BidView.as_view(), name="bid"),
    path("api/v1/jobs/<uuid:job_id>/buy", views.BuyView.as_view(), name="buy"),
    path("api/v1/jobs/<uuid:job_id>/events", views.EventsView.as_view(), name="events"),
    path("api/v1/market", market_views.MarketView.as_view(), name="market"),
    path("api/v1/statement", views.StatementView.as_view(), name="statement"),
    path("api/v1/schema", SpectacularJSONAPIView.as_view(), name="schema"),
    path("artifacts/<uuid:artifact_id>", views.ArtifactView.as_view(), name="artifact"),
    path("artifacts/<uuid:artifact_id>/thumbnail", views.ThumbnailView.as_view(), name="thumbnail"),
    re_path(r"^api/", views.NotFoundView.as_view()),
]
