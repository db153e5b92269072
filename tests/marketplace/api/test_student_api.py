"""The student API: sign in, price, order, follow, cancel, account; and what a stranger gets."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from accounts import lockout
from accounts.models import ApiToken, Enrolment, User, Workshop
from gpu_agent.protocol.phases import Cause
from jobs.models import Job
from marketplace.fleet.models import Agent
from marketplace.market.models import Quote
from tests.factories import jobs as make

pytestmark = pytest.mark.django_db
ClientOf = Callable[[User], APIClient]


def post(client: APIClient, address: str, words: Any, **headers: str) -> Any:
    return client.post(f"/api/v1/{address}", words, format="json", headers=headers)


@pytest.fixture
def quote(student: User, workshop: Workshop, agent: Agent) -> Quote:
    return make.a_quote(student, workshop, seconds=2)


@pytest.fixture
def job(student: User, workshop: Workshop, agent: Agent) -> Job:
    return make.a_job(student, workshop, seconds=2)


# --- signing in ----------------------------------------------------------------------------------


@pytest.fixture
def with_password(student: User) -> User:
    student.set_password("right words")
    student.save()
    return student


def sign_in(username: str, password: str, address: str = "10.0.0.1") -> Any:
    words = {"username": username, "password": password}
    return APIClient(REMOTE_ADDR=address).post("/api/v1/token", words, format="json")


def test_a_password_is_traded_for_a_token_that_works(with_password: User) -> None:
    answer = sign_in(with_password.username, "right words")
    assert answer.status_code == 201
    token = answer.json()["token"]
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {token}")
    assert client.get("/api/v1/me").json()["user"]["username"] == with_password.username
    assert token not in str(list(ApiToken.objects.values()))


def test_five_wrong_passwords_lock_the_name_for_that_address(with_password: User) -> None:
    username = with_password.username
    for _ in range(lockout.MAX_FAILURES):
        assert sign_in(username, "wrong").status_code == 401
    locked = sign_in(username, "right words")
    assert (locked.status_code, locked.json()["code"]) == (429, "locked")
    assert 0 < int(locked["Retry-After"]) <= lockout.WINDOW_SECONDS
    assert sign_in(username, "right words", address="10.0.0.2").status_code == 201


def test_the_right_password_starts_the_count_anew(with_password: User) -> None:
    for password in ["wrong"] * 4 + ["right words"] + ["wrong"] * 4:
        sign_in(with_password.username, password)
    assert sign_in(with_password.username, "right words").status_code == 201


def test_a_token_ends_when_revoked_and_when_its_user_is_disabled(client_of: ClientOf, student: User) -> None:
    first, second = client_of(student), client_of(student)
    assert first.delete("/api/v1/token").status_code == 204
    assert first.get("/api/v1/me").status_code == 401
    assert second.get("/api/v1/me").status_code == 200
    User.objects.filter(pk=student.pk).update(is_active=False)
    assert second.get("/api/v1/me").status_code == 401


def test_nothing_is_answered_to_nobody(db: None) -> None:
    for address in ("me", "jobs", "statement", f"jobs/{uuid.uuid4()}"):
        answer = APIClient().get(f"/api/v1/{address}")
        assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
        assert answer["WWW-Authenticate"] == "Bearer"


# --- buying --------------------------------------------------------------------------------------


def test_the_balance_says_what_is_available_and_held(api: APIClient, job: Job) -> None:
    words = api.get("/api/v1/me").json()
    assert words["balance"]["held_milli"] == job.held_milli
    assert words["balance"]["available_milli"] == 100_000 - job.held_milli
    assert words["workshops"][0]["slug"] == job.workshop.slug


def test_an_order_holds_the_ceiling_and_is_first_in_line(api: APIClient, quote: Quote) -> None:
    answer = post(api, "jobs", {"quote": str(quote.pk)})
    assert answer.status_code == 201
    words = answer.json()
    assert (words["status"], words["position"]) == ("queued", {"position": 1, "of": 1})
    assert words["held_milli"] == quote.ceiling_milli
    assert words["captured_milli"] is None
    assert words["receipt"] is None


def test_the_same_key_gives_the_same_job(api: APIClient, quote: Quote) -> None:
    key = {"Idempotency-Key": "click-1"}
    first, second = (post(api, "jobs", {"quote": str(quote.pk)}, **key) for _ in range(2))
    assert first.json() == second.json()
    assert Job.objects.count() == 1


def test_the_same_key_for_another_quote_is_a_conflict(
    api: APIClient, quote: Quote, student: User, workshop: Workshop
) -> None:
    other = make.a_quote(student, workshop, seconds=3)
    post(api, "jobs", {"quote": str(quote.pk)}, **{"Idempotency-Key": "k"})
    answer = post(api, "jobs", {"quote": str(other.pk)}, **{"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["code"]) == (409, "key_conflict")


@pytest.mark.parametrize("key", ["", "x" * 201, "käse", "a\tb"])
def test_a_key_no_log_could_show_is_refused(api: APIClient, quote: Quote, key: str) -> None:
    answer = post(api, "jobs", {"quote": str(quote.pk)}, **{"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["field"]) == (400, "Idempotency-Key")
    assert not Job.objects.exists()


def test_too_few_credits_are_said_with_the_shortfall(
    client_of: ClientOf, workshop: Workshop, agent: Agent
) -> None:
    poor = make.a_student(workshop, credits_milli=100)
    dear = make.a_quote(poor, workshop, seconds=50)
    answer = post(client_of(poor), "jobs", {"quote": str(dear.pk)})
    assert answer.status_code == 402
    assert answer.json()["shortfall_milli"] == dear.ceiling_milli - 100
    assert not Job.objects.exists()


def test_an_old_price_is_gone(api: APIClient, quote: Quote) -> None:
    Quote.objects.filter(pk=quote.pk).update(expires_at=quote.created_at)
    answer = post(api, "jobs", {"quote": str(quote.pk)})
    assert (answer.status_code, answer.json()["code"]) == (410, "quote_expired")


def test_a_workflow_is_refused_node_by_node(api: APIClient, agent: Agent) -> None:
    graph = {"1": {"class_type": "Nonsense", "inputs": {}}}
    for workflow in (graph, json.dumps(graph)):
        answer = post(api, "quotes", {"workflow": workflow})
        words = answer.json()
        assert answer.status_code == 400
        assert {"code", "message", "node", "node_type", "field"} <= words["problems"][0].keys()
        assert "1" in {problem["node"] for problem in words["problems"]}
    assert not Quote.objects.exists()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "workflow"),
        ({"workflow": 7}, "workflow"),
        ({"workflow": {}, "title": "x" * 201}, "title"),
        ([], ""),
    ],
)
def test_a_request_of_the_wrong_shape_names_its_field(api: APIClient, body: Any, field: str) -> None:
    answer = post(api, "quotes", body)
    assert (answer.status_code, answer.json()["field"]) == (400, field)


@pytest.mark.parametrize(
    "text", ['{"workflow":{"1":1,"1":2}}', '{"workflow":1e999}', '{"title":"\\u0000"}', "{"]
)
def test_json_that_stores_would_choke_on_is_refused(api: APIClient, text: str) -> None:
    answer = api.post("/api/v1/quotes", text, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_json")


def test_members_of_several_workshops_say_which(api: APIClient, student: User, agent: Agent) -> None:
    other = make.a_workshop()
    Enrolment.objects.create(user=student, workshop=other, role="student")
    answer = post(api, "quotes", {"workflow": {}})
    assert (answer.status_code, answer.json()["code"]) == (400, "workshop_needed")
    answer = post(api, "quotes", {"workflow": {}, "workshop": "not-mine"})
    assert (answer.status_code, answer.json()["code"]) == (404, "workshop_unknown")


# --- following -----------------------------------------------------------------------------------


def test_a_finished_job_has_a_receipt_that_adds_up(api: APIClient, job: Job, agent: Agent) -> None:
    make.taken(agent).succeed(charged_ms=2000)
    words = api.get(f"/api/v1/jobs/{job.pk}").json()
    assert words["status"] == "succeeded"
    assert words["captured_milli"] + words["returned_milli"] == words["held_milli"]
    (artifact,) = words["artifacts"]
    assert artifact["url"] == f"/artifacts/{artifact['id']}"
    lines = api.get("/api/v1/statement").json()["lines"]
    assert words["receipt"]["available"] == api.get("/api/v1/me").json()["balance"]["available"]
    assert lines[0]["available_milli"] == 100_000 - words["captured_milli"]


def test_events_are_read_from_where_one_left_off(api: APIClient, job: Job, agent: Agent) -> None:
    make.taken(agent).run()
    every = api.get(f"/api/v1/jobs/{job.pk}/events").json()
    assert [event["seq"] for event in every["events"]] == list(range(1, every["seq"] + 1))
    later = api.get(f"/api/v1/jobs/{job.pk}/events?after=2").json()
    assert later["events"] == every["events"][2:]


def test_a_waiting_job_is_cancelled_for_nothing(api: APIClient, job: Job) -> None:
    answer = api.post(f"/api/v1/jobs/{job.pk}/cancel")
    assert answer.json() == {
        "status": "cancelled", "captured_milli": 0, "returned_milli": job.held_milli, "pending": False,
    }  # fmt: skip


def test_jobs_are_listed_in_pages_with_the_same_queries(
    api: APIClient, student: User, workshop: Workshop, agent: Agent
) -> None:
    def listed(query: str = "") -> tuple[Any, int]:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            answer = api.get(f"/api/v1/jobs{query}")
        return answer.json(), len(queries)

    Workshop.objects.filter(pk=workshop.pk).update(max_waiting=100)
    make.a_job(student, workshop)
    api.get("/api/v1/jobs")  # the token's use is noted once a minute
    _few, queries_of_one = listed()
    for _ in range(54):
        make.a_job(student, workshop)
    first, queries_of_many = listed()
    assert queries_of_many == queries_of_one <= 4
    rest, _count = listed(f"?before={first['next_before']}")
    numbers = [words["number"] for words in first["jobs"] + rest["jobs"]]
    assert numbers == sorted(Job.objects.values_list("number", flat=True), reverse=True)
    assert rest["next_before"] is None


def test_jobs_are_listed_by_status_and_unknown_ones_are_refused(api: APIClient, job: Job) -> None:
    assert len(api.get("/api/v1/jobs?status=queued").json()["jobs"]) == 1
    assert api.get("/api/v1/jobs?status=failed").json()["jobs"] == []
    answer = api.get("/api/v1/jobs?status=nonsense")
    assert (answer.status_code, answer.json()["field"]) == (400, "status")


# --- strangers and staff -------------------------------------------------------------------------


def test_a_strangers_job_is_not_there_anywhere(
    client_of: ClientOf, workshop: Workshop, job: Job, agent: Agent, student: User, quote: Quote
) -> None:
    make.taken(agent).succeed()
    artifact = job.artifacts.get()
    stranger = client_of(make.a_student(workshop))
    for address in (f"/api/v1/jobs/{job.pk}", f"/api/v1/jobs/{job.pk}/events", f"/artifacts/{artifact.pk}",
                    f"/artifacts/{artifact.pk}/thumbnail"):  # fmt: skip
        answer = stranger.get(address)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), address
    assert stranger.post(f"/api/v1/jobs/{job.pk}/cancel").status_code == 404
    assert post(stranger, "jobs", {"quote": str(quote.pk)}).json()["code"] == "quote_unknown"
    assert stranger.get("/api/v1/jobs?everyone=true").json()["jobs"] == []


def test_staff_see_everyones_jobs_when_they_ask(client_of: ClientOf, workshop: Workshop, job: Job) -> None:
    teacher = client_of(make.a_member(workshop, "instructor"))
    assert teacher.get("/api/v1/jobs").json()["jobs"] == []
    (words,) = teacher.get("/api/v1/jobs?everyone=true").json()["jobs"]
    assert words["student"] == job.student.username
    assert teacher.get(f"/api/v1/jobs/{job.pk}").status_code == 200


def test_an_artifact_leads_to_its_file_for_who_may_see_it(api: APIClient, job: Job, agent: Agent) -> None:
    make.taken(agent).succeed()
    artifact = job.artifacts.get()
    answer = api.get(f"/artifacts/{artifact.pk}")
    assert answer.status_code == 302
    assert answer["Location"].startswith(f"/files/{artifact.sha256}?key=")
    assert answer["Cache-Control"] == "private, no-store"


def test_an_artifact_is_not_seen_before_its_job_is_settled(api: APIClient, job: Job, agent: Agent) -> None:
    voice = make.taken(agent)
    voice.stored()
    assert api.get(f"/artifacts/{job.artifacts.get().pk}").status_code == 404


# --- the rest ------------------------------------------------------------------------------------


def test_a_file_is_brought_and_named(api: APIClient, picture: bytes) -> None:
    file = SimpleUploadedFile("my photo.png", picture, "image/png")
    answer = api.post("/api/v1/uploads", {"file": file}, format="multipart")
    words = answer.json()
    assert answer.status_code == 201
    assert (words["name"], words["width"], words["height"]) == ("my photo.png", 40, 30)


def test_a_file_that_is_no_picture_is_refused(api: APIClient) -> None:
    file = SimpleUploadedFile("a.png", b"#!/bin/sh\n" * 10)
    answer = api.post("/api/v1/uploads", {"file": file}, format="multipart")
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (
        400,
        "unknown_file",
        "file",
    )


def test_a_session_needs_the_csrf_token(student: User, quote: Quote) -> None:
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(student)
    answer = post(client, "jobs", {"quote": str(quote.pk)})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert not Job.objects.exists()


def test_addresses_that_do_not_exist_are_answered_in_json(api: APIClient) -> None:
    for answer in (api.get("/api/v1/nothing"), api.post("/api/nothing")):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert api.put("/api/v1/jobs").json()["code"] == "method_not_allowed"


def test_a_bid_is_raised_and_withdrawn_while_the_job_waits(
    api: APIClient, student: User, workshop: Workshop, agent: Agent
) -> None:
    Workshop.objects.filter(pk=workshop.pk).update(policy="market")
    job = make.a_job(student, workshop, seconds=9.0)
    raised = api.post(f"/api/v1/jobs/{job.pk}/bid", {"bid": 4}, format="json").json()
    assert (raised["bid"], raised["held_milli"]) == (4, 4 * job.ceiling_milli)
    assert api.post(f"/api/v1/jobs/{job.pk}/bid", {"bid": 1}, format="json").json()["bid"] == 1
    refused = api.post(f"/api/v1/jobs/{job.pk}/bid", {"bid": 3}, format="json")
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_bid")


def test_what_a_failed_job_did_produce_is_bought_once(
    api: APIClient, student: User, workshop: Workshop, agent: Agent
) -> None:
    job = make.a_job(student, workshop, seconds=9.0)
    voice = make.taken(agent)
    voice.stored(1)
    voice.fail(Cause.EXECUTION_ERROR, charged_ms=4_000)
    bought = [api.post(f"/api/v1/jobs/{job.pk}/buy").json() for _twice in range(2)]
    assert bought[0]["bought_milli"] == bought[1]["bought_milli"] > 0
    assert len(bought[1]["artifacts"]) == 1
    other = make.a_job(student, workshop, seconds=9.0)
    assert api.post(f"/api/v1/jobs/{other.pk}/buy").json()["code"] == "nothing_to_buy"
