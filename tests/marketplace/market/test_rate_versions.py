"""New rates: proposed from enough runs, approved within bounds or by staff, named by every quote."""

import pytest
from django.conf import settings
from django.test import Client

from accounts.models import AuditRow, User, Workshop
from gpu_agent.protocol.phases import Outcome
from jobs import chores
from jobs.models import Chore
from marketplace.fleet.models import Agent
from marketplace.market import learning, rate_versions
from marketplace.market.models import Calibration, RateVersion
from tests.factories.jobs import AgentVoice, a_job, a_quote, a_student, a_workshop, an_agent, assigned_attempt

pytestmark = pytest.mark.django_db
GIB = 1024**3


@pytest.fixture
def student() -> User:
    an_agent(gib=24)
    return a_student(a_workshop(), credits_milli=10_000_000)


def here(student: User) -> Workshop:
    return student.enrolments.get().workshop


def ran(student: User, slower: float, count: int, gib: float = 8) -> None:
    """So many warm jobs of different lengths, learned from, each so many times slower than estimated."""
    agent = Agent.objects.get()
    for number in range(count):
        seconds = 5 + number % 4
        a_job(student, here(student), seconds=seconds)
        voice = AgentVoice(agent, assigned_attempt(agent))
        took = {"charged_ms": round(1000 * slower * seconds), "executing_ms": round(1000 * slower * seconds)}
        voice.finish(Outcome.SUCCEEDED, artifacts=(), vram_peak_bytes=int(gib * GIB), **took)
        assert learning.learn(str(voice.attempt.pk))


def proposed() -> RateVersion:
    rate_versions.want_proposals()
    chore = Chore.objects.filter(kind="propose_rates", done_at=None).latest("pk")
    assert chores.run(chore.pk)
    return RateVersion.objects.latest("number")


def test_too_few_runs_propose_nothing(student: User) -> None:
    ran(student, 1.1, rate_versions.NEW_RUNS - 1)
    assert rate_versions.want_proposals() == 0
    assert rate_versions.propose("real:2:19") is None
    assert a_quote(student, here(student)).rate_version == 1


def test_a_small_improvement_approves_itself_and_quotes_name_it(student: User) -> None:
    ran(student, 1.15, rate_versions.NEW_RUNS)
    version = proposed()
    assert (version.number, version.status, version.automatic) == (2, "active", True)
    assert version.error_after < version.error_before == pytest.approx(0.15 / 1.15, rel=0.01)
    assert 0.05 < version.largest_change <= rate_versions.LARGEST_CHANGE
    quote = a_quote(a_student(here(student)), here(student), seconds=6)
    assert (quote.rate_version, quote.estimate_seconds) == (2, 6)
    assert quote.gpu_seconds == quote.seconds_p50 == pytest.approx(6.9, rel=0.05)
    assert quote.seconds_p90 > quote.seconds_p50
    assert "as measured" in quote.lines[1]["words"]
    assert sum(line["amount_milli"] for line in quote.lines) == quote.quote_milli
    assert AuditRow.objects.get(action="rates.approved").subject == "rates:2"
    assert rate_versions.want_proposals() == 0


def test_a_large_change_waits_for_staff_and_prices_nothing_meanwhile(student: User) -> None:
    ran(student, 2.0, rate_versions.NEW_RUNS)
    version = proposed()
    assert (version.status, version.decided_at) == ("proposed", None)
    assert version.largest_change > rate_versions.LARGEST_CHANGE
    nobody = a_student(here(student))
    assert a_quote(nobody, here(student), seconds=6).gpu_seconds == 6
    boss = User.objects.create_superuser("boss")
    assert rate_versions.approve(version.pk, boss).decided_by == boss
    assert a_quote(nobody, here(student), seconds=6).gpu_seconds == pytest.approx(12, rel=0.2)
    with pytest.raises(rate_versions.NotProposed):
        rate_versions.reject(version.pk, boss)


def test_a_rejected_version_is_forgotten_and_learning_starts_from_the_one_in_use(student: User) -> None:
    ran(student, 2.0, rate_versions.NEW_RUNS)
    version = proposed()
    rate_versions.reject(version.pk, User.objects.create_superuser("boss"), "a broken card")
    assert Calibration.objects.get().runs == 0
    assert AuditRow.objects.get(action="rates.rejected").reason == "a broken card"
    assert a_quote(a_student(here(student)), here(student)).rate_version == 1
    assert rate_versions.want_proposals() == 0


def test_a_newer_proposal_takes_an_older_ones_place(student: User) -> None:
    ran(student, 2.0, rate_versions.NEW_RUNS)
    first = proposed()
    ran(student, 2.0, rate_versions.NEW_RUNS)
    second = proposed()
    first.refresh_from_db()
    assert (first.status, second.number, second.runs) == ("retired", 3, 40)


def test_measured_peaks_move_the_predicted_memory_within_bounds(student: User) -> None:
    ran(student, 1.1, rate_versions.NEW_RUNS, gib=6.5)
    assert proposed().status == "active"
    quote = a_quote(student, here(student), gib=8)
    assert 6 * GIB <= quote.vram_bytes < 8 * GIB == quote.estimate_vram_bytes


def test_staff_decide_on_the_admin_page_and_others_may_not(student: User, client: Client) -> None:
    ran(student, 2.0, rate_versions.NEW_RUNS)
    version = proposed()
    settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # WhiteNoise warns where there is none
    client.force_login(User.objects.create_superuser("boss"))
    page = client.get("/admin/market/rateversion/").content.decode()
    assert f"{100 * version.error_before:.1f} %" in page
    assert client.get(f"/admin/market/rateversion/{version.pk}/change/").status_code == 200
    act = {"action": "approve", "_selected_action": [version.pk]}
    client.force_login(User.objects.create_user("clerk", is_staff=True))
    assert client.post("/admin/market/rateversion/", act).status_code == 403
    client.force_login(User.objects.get(username="boss"))
    client.post("/admin/market/rateversion/", act)
    version.refresh_from_db()
    assert (version.status, version.decided_by.username) == ("active", "boss")
    assert "already" not in client.get("/admin/market/rateversion/").content.decode()
