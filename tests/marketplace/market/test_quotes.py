"""Quotes: a submission is checked against what agents can run, priced, and kept until it expires."""

import json

import pytest

from accounts.clock import now
from jobs.job_types.base import Refusal
from jobs.job_types.registry import UnknownJobType
from jobs.models import Upload
from marketplace.market import orders, quoting
from marketplace.market.models import Quote
from tests.factories.jobs import a_quote, a_student, a_workshop, an_agent

pytestmark = pytest.mark.django_db


def test_a_quote_stores_price_ceiling_lines_and_expiry() -> None:
    workshop = a_workshop(milli_per_gpu_second=100)
    an_agent()
    quote = a_quote(a_student(workshop), workshop, seconds=2, gib=8, model="m.safetensors")
    row = Quote.objects.get(pk=quote.pk)
    assert (row.quote_milli, row.ceiling_milli, row.vram_bytes) == (200, 250, 8 * 1024**3)
    assert sum(line["amount_milli"] for line in row.lines) == row.quote_milli
    assert 890 < (row.expires_at - now()).total_seconds() <= 900
    assert row.nodes["1"] == {"title": "Work", "seconds": 2.0, "loader": False, "sampler": True}
    assert (row.model_files, row.title) == ([["checkpoints", "m.safetensors"]], "2 s of work")


def test_nothing_is_stored_for_a_refused_submission() -> None:
    workshop = a_workshop()
    an_agent(nodes=["Sampler"])
    with pytest.raises(Refusal, match="no GPU knows the node Upscaler"):
        a_quote(a_student(workshop), workshop, node="Upscaler")
    assert not Quote.objects.exists()


def test_before_any_agent_told_what_it_can_run_nothing_is_priced() -> None:
    workshop = a_workshop()
    with pytest.raises(orders.NoAgentYet):
        a_quote(a_student(workshop), workshop)


def test_an_agent_lost_from_sight_still_counts_for_checking() -> None:
    workshop = a_workshop()
    an_agent(state="lost")
    assert a_quote(a_student(workshop), workshop).quote_milli == 200


def test_strangers_and_closed_workshops_get_no_price() -> None:
    workshop, elsewhere = a_workshop(), a_workshop()
    an_agent()
    with pytest.raises(orders.NotAllowed):
        a_quote(a_student(elsewhere), workshop)
    closed = a_workshop(closed_at=now())
    with pytest.raises(orders.WorkshopClosed):
        a_quote(a_student(closed), closed)


def test_an_unknown_job_type_is_refused_by_name() -> None:
    workshop = a_workshop()
    an_agent()
    with pytest.raises(UnknownJobType, match="juggling"):
        orders.quote(a_student(workshop), workshop, b"{}", job_type="juggling")


def test_a_long_title_is_cut_and_its_lines_joined() -> None:
    workshop = a_workshop()
    an_agent()
    student = a_student(workshop)
    quote = orders.quote(student, workshop, json.dumps({}).encode(), title=" a\nb " * 90, job_type="timed")
    assert quote.title.startswith("a b a b")
    assert len(quote.title) == 200


def test_only_ones_own_files_of_this_workshop_are_at_hand() -> None:
    workshop = a_workshop()
    mine, other = a_student(workshop), a_student(workshop)
    for owner, place in ((mine, workshop), (other, workshop), (mine, a_workshop())):
        Upload.objects.create(
            owner=owner, workshop=place, sha256=f"{owner.pk}{place.pk}".ljust(64, "0"), name="cat.png",
            media_type="image/png", size_bytes=3,
        )  # fmt: skip
    found = quoting._Uploads(mine, workshop)
    assert found["cat.png"].sha256 == f"{mine.pk}{workshop.pk}".ljust(64, "0")
