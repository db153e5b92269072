"""The admin: teachers and their own workshops, credits for a class, rosters; the ledger to read."""

import re
import uuid

import pytest
from django.contrib.admin import site
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from accounts.ledger import balances, posting
from accounts.models import AuditRow, Enrolment, User, Workshop
from tests.factories import people

pytestmark = pytest.mark.django_db


def signed_in(who: User) -> Client:
    client = Client()
    client.force_login(who)
    return client


@pytest.fixture
def place() -> Workshop:
    there = people.workshop(name="Editing")
    people.give(posting.pool_account(there), 1_000_000)
    for name in ("ana", "bo", "cy"):
        people.student(there, name, team="Red" if name == "ana" else "")
    return there


def grant(client: Client, place: Workshop, step: str, **changed: object) -> object:
    form = {
        "amount": "50",
        "to": "all",
        "source": "pool:",
        "reason": "Good work",
        "key": str(uuid.uuid4()),
        **changed,
    }
    return client.post(
        reverse("admin:accounts_workshop_grant_credits", args=[place.pk]), {**form, "step": step}
    )


def test_who_teaches_may_open_the_admin_and_who_stops_may_not() -> None:
    place = people.workshop()
    who = people.instructor(place)
    assert User.objects.get(pk=who.pk).is_staff
    assert not User.objects.get(pk=people.student(place).pk).is_staff
    seat = Enrolment.objects.get(user=who)
    seat.role = "assistant"
    seat.save()
    assert not User.objects.get(pk=who.pk).is_staff


def test_a_superuser_stays_in_whatever_they_teach() -> None:
    boss = User.objects.create(username="root", is_superuser=True, is_staff=True)
    people.enrol(boss, people.workshop(), role="student")
    assert User.objects.get(pk=boss.pk).is_staff


@pytest.mark.parametrize(
    "model", [model for model in site._registry if model._meta.app_label in ("accounts", "ledger")]
)
def test_every_list_opens_for_a_superuser(model: type, place: Workshop) -> None:
    people.hold(people.member(place, 1_000), 500)
    boss = User.objects.create(username="root", is_superuser=True, is_staff=True)
    client = signed_in(boss)
    name = f"{model._meta.app_label}_{model._meta.model_name}"
    assert client.get(reverse(f"admin:{name}_changelist")).status_code == 200
    row = model._default_manager.order_by("-pk").first()
    if row is not None:
        assert client.get(reverse(f"admin:{name}_change", args=[row.pk])).status_code == 200


def test_a_teacher_sees_their_own_workshop_only(place: Workshop) -> None:
    other = people.workshop(name="Colour")
    people.student(other, "zoe")
    client = signed_in(people.instructor(place))
    for page in (
        "accounts_workshop",
        "accounts_enrolment",
        "ledger_ledgeraccount",
        "ledger_ledgertransaction",
    ):
        text = client.get(reverse(f"admin:{page}_changelist")).content.decode()
        assert "Colour" not in text
        assert "zoe" not in text
    assert client.get(reverse("admin:accounts_workshop_grant_credits", args=[other.pk])).status_code == 404
    assert client.get(reverse("admin:accounts_user_changelist")).status_code == 403


def test_students_and_strangers_stay_out(place: Workshop) -> None:
    for who in (User.objects.get(username="ana"), people.user()):
        answer = signed_in(who).get(reverse("admin:accounts_workshop_grant_credits", args=[place.pk]))
        assert answer.status_code == 302
        assert "/admin/login/" in answer.url


def test_a_class_gets_credits_after_a_preview_and_gives_them_back(place: Workshop) -> None:
    client, key = signed_in(people.instructor(place)), str(uuid.uuid4())
    shown = grant(client, place, "preview", key=key).content.decode()
    assert re.search(r"3 students get 50\.00 credits each, 150\.00 in all", shown)
    assert "has 1,000.00 and keeps 850.00" in shown
    page = grant(client, place, "give", key=key).url
    assert grant(client, place, "give", key=key).url == page
    ana = posting.member_account(User.objects.get(username="ana"), place)
    people.hold(ana, 20_000)
    assert "Undo: take 130.00 credits back" in client.get(page).content.decode()
    client.post(page, {"reason": "Wrong class"})
    told = client.get(page).content.decode()
    assert "130.00 credits came back" in told
    assert re.search(r"20\.00 did not, since they were spent or set aside: ana\.", told)
    assert balances.balance(ana).available_milli == 0


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"amount": "-5"}, "more than zero"),
        ({"amount": "0.001"}, "finer than 0.01"),
        ({"amount": "1" + "0" * 30}, "more credits than"),
        ({"amount": "500"}, "are missing"),
        ({"source": "issue"}, "not one of the available choices"),
        ({"to": "some"}, "at least one student"),
        ({"reason": ""}, "required"),
    ],
)
def test_a_grant_that_is_refused_says_why_and_gives_nothing(
    place: Workshop, changed: dict[str, str], why: str
) -> None:
    client = signed_in(people.instructor(place))
    for step in ("preview", "give"):
        assert why in grant(client, place, step, **changed).content.decode()
    assert balances.totals(place).available_milli == 1_000_000


def test_a_team_or_chosen_students_get_credits(place: Workshop) -> None:
    client = signed_in(people.instructor(place))
    bo = User.objects.get(username="bo")
    grant(client, place, "give", to="team:Red")
    grant(client, place, "give", to="some", students=[bo.pk], amount="7")
    told = {
        User.objects.get(pk=pk).username: b.available_milli
        for pk, b in balances.member_balances(place.pk).items()
    }
    assert {name: told[name] for name in ("ana", "bo", "cy")} == {"ana": 50_000, "bo": 7_000, "cy": 0}


def test_a_batch_of_another_workshop_is_not_found(place: Workshop) -> None:
    client = signed_in(people.instructor(place))
    page = grant(client, place, "give").url
    other = people.workshop()
    people.enrol(
        User.objects.get(username=AuditRow.objects.latest("id").actor.username), other, role="instructor"
    )
    assert client.get(page.replace(f"/{place.pk}/", f"/{other.pk}/")).status_code == 404


def test_a_roster_is_tried_then_imported(place: Workshop) -> None:
    client = signed_in(people.instructor(place))
    address = reverse("admin:accounts_workshop_import_roster", args=[place.pk])
    lines = b"name,email\nDee,dee@school.test\nEve,not-mail\n"
    tried = client.post(
        address, {"step": "plan", "file": SimpleUploadedFile("class.csv", lines)}
    ).content.decode()
    assert "Of 2 rows, 1 would add or change somebody" in tried
    assert "not-mail is not an e-mail address" in tried
    assert not User.objects.filter(email="dee@school.test").exists()
    data = re.search(r'name="data" value="([^"]+)"', tried)[1]  # type: ignore[index]
    assert (
        "1 people imported, 1 rows left out"
        in client.post(address, {"step": "import", "data": data}).content.decode()
    )
    assert Enrolment.objects.filter(user__email="dee@school.test", workshop=place).exists()


def test_a_file_that_is_no_roster_is_refused(place: Workshop) -> None:
    client = signed_in(people.instructor(place))
    address = reverse("admin:accounts_workshop_import_roster", args=[place.pk])
    for form in (
        {"step": "plan", "file": SimpleUploadedFile("class.csv", b"nothing here")},
        {"step": "import", "data": "%%%"},
    ):
        answer = client.post(address, form)
        assert answer.status_code == 200
        assert re.search("must name the columns|did not come through", answer.content.decode())


def test_changing_a_workshops_rules_is_written_down(place: Workshop) -> None:
    client = signed_in(people.instructor(place))
    address = reverse("admin:accounts_workshop_change", args=[place.pk])
    form = client.get(address).context["adminform"].form
    values = {name: "" if (value := form.initial.get(name)) is None else value for name in form.fields}
    values |= {
        "allowance_milli_per_hour": 5_000,
        "allowed_node_types": "",
        "ends_at_0": "",
        "ends_at_1": "",
        "closed_at_0": "",
        "closed_at_1": "",
    }
    answer = client.post(address, values)
    assert answer.status_code == 302, answer.context["adminform"].form.errors
    row = AuditRow.objects.latest("id")
    assert (row.action, row.before, row.after) == (
        "workshop.change",
        {"allowance_milli_per_hour": "10000"},
        {"allowance_milli_per_hour": "5000"},
    )


def test_nothing_of_the_ledger_can_be_changed_in_the_admin(place: Workshop) -> None:
    boss = User.objects.create(username="root", is_superuser=True, is_staff=True)
    client = signed_in(boss)
    for model in ("ledgeraccount", "ledgertransaction", "hold", "grantbatch"):
        assert client.get(reverse(f"admin:ledger_{model}_add")).status_code == 403
    account = posting.pool_account(place)
    for page in ("change", "delete"):
        answer = client.post(reverse(f"admin:ledger_ledgeraccount_{page}", args=[account]), {"post": "yes"})
        assert answer.status_code == 403
