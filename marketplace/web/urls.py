"""Pages. A page's `_fragment` is the part of it that lives."""

from django.templatetags.static import static
from django.urls import path
from django.views.generic.base import RedirectView

from marketplace.web.views import (
    account,
    class_credits,
    class_page,
    jobs,
    market,
    quotes,
    statement,
    studio,
    sweeps,
    templates,
)

app_name = "web"
urlpatterns = [
    path("", RedirectView.as_view(pattern_name="web:studio"), name="home"),
    path("favicon.ico", RedirectView.as_view(url=static("web/icon.svg")), name="favicon"),
    path("sign-in", account.SignIn.as_view(), name="sign_in"),
    path("sign-out", account.SignOut.as_view(), name="sign_out"),
    path("balance/_fragment", account.balance_fragment, name="balance_fragment"),
    path("workshop", account.choose_workshop, name="choose_workshop"),
    path("studio", studio.studio, name="studio"),
    path("studio/_fragment", studio.fragment, name="studio_fragment"),
    path("studio/uploads/_fragment", studio.uploads_fragment, name="uploads_fragment"),
    path("templates/<int:template_id>", templates.template, name="template"),
    path("templates/<int:template_id>/_fragment", templates.fragment, name="template_fragment"),
    path("templates/<int:template_id>/run", templates.run, name="template_run"),
    path("templates/<int:template_id>/defaults", templates.defaults, name="template_defaults"),
    path("templates/<int:template_id>/workflow.json", templates.workflow, name="template_workflow"),
    path("templates/<int:template_id>/sweep", sweeps.builder, name="sweep_builder"),
    path("templates/<int:template_id>/sweep/_fragment", sweeps.price_fragment, name="sweep_price"),
    path("templates/<int:template_id>/sweep/run", sweeps.run, name="sweep_run"),
    path("sweeps/<uuid:sweep_id>", sweeps.sweep, name="sweep"),
    path("sweeps/<uuid:sweep_id>/_fragment", sweeps.fragment, name="sweep_fragment"),
    path("quotes/<uuid:quote_id>/change", quotes.change, name="quote_change"),
    path("quotes/<uuid:quote_id>", quotes.quote, name="quote"),
    path("quotes/<uuid:quote_id>/_fragment", quotes.fragment, name="quote_fragment"),
    path("quotes/<uuid:quote_id>/run", quotes.run, name="run"),
    path("quotes/<uuid:quote_id>/again", quotes.again, name="quote_again"),
    path("jobs", jobs.jobs, name="jobs"),
    path("jobs/<uuid:job_id>", jobs.job, name="job"),
    path("jobs/<uuid:job_id>/_fragment", jobs.fragment, name="job_fragment"),
    path("jobs/<uuid:job_id>/cancel", jobs.cancel, name="cancel"),
    path("jobs/<uuid:job_id>/bid", jobs.bid, name="bid"),
    path("jobs/<uuid:job_id>/buy", jobs.buy, name="buy"),
    path("jobs/<uuid:job_id>/again", quotes.rerun, name="rerun"),
    path("jobs/<uuid:job_id>/workflow.json", jobs.workflow, name="workflow"),
    path("notices/_fragment", market.notices_fragment, name="notices_fragment"),
    path("market", market.market, name="market"),
    path("market/_fragment", market.fragment, name="market_fragment"),
    path("class", class_page.class_page, name="class_page"),
    path("class/_fragment", class_page.fragment, name="class_fragment"),
    path("class/pull", class_page.pull, name="class_pull"),
    path("class/credits", class_credits.grant, name="class_credits"),
    path("class/credits/<uuid:key>", class_credits.batch, name="class_batch"),
    path("statement", statement.statement, name="statement"),
    path("statement.csv", statement.csv_file, name="statement_csv"),
]
