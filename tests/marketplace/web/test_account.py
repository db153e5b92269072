"""Signing in and out."""

import pytest
from django.test import Client

from accounts.models import User, Workshop

pytestmark = pytest.mark.django_db


def test_a_stranger_is_sent_to_sign_in_and_back_to_where_they_wanted(client: Client, student: User) -> None:
    student.set_password("a good password")
    student.save()
    asked = client.get("/statement?show=held")
    assert asked.url == "/sign-in?next=/statement%3Fshow%3Dheld"
    form = {"username": student.username, "password": "a good password", "next": "/statement?show=held"}
    assert client.post("/sign-in", form).url == "/statement?show=held"


def test_a_wrong_password_keeps_the_name_and_says_what_to_do(client: Client, student: User) -> None:
    answer = client.post("/sign-in", {"username": student.username, "password": "wrong"})
    assert answer.status_code == 400
    assert f'value="{student.username}"' in answer.content.decode()
    assert "don’t match" in answer.content.decode()
    assert "wrong" not in answer.content.decode()


def test_an_empty_form_says_what_is_missing_at_each_field(client: Client) -> None:
    answer = client.post("/sign-in", {"username": "", "password": ""}).content.decode()
    assert "Type your user name" in answer
    assert 'aria-describedby="password-e"' in answer


def test_next_never_leads_to_another_site(client: Client, student: User) -> None:
    student.set_password("a good password")
    student.save()
    form = {"username": student.username, "password": "a good password", "next": "https://elsewhere.example/"}
    assert client.post("/sign-in", form).url == "/studio"


def test_not_you_ends_the_session(page: Client) -> None:
    answer = page.post("/sign-out")
    assert answer.url == "/sign-in"
    assert answer["Clear-Site-Data"] == '"cache"'
    assert page.get("/studio").status_code == 302
    assert page.get("/sign-out").status_code == 405


def test_browsers_keep_no_copy_of_a_page(page: Client) -> None:
    assert "no-store" in page.get("/studio")["Cache-Control"]


def test_a_fragment_tells_a_stranger_401_instead_of_a_form(client: Client) -> None:
    asked = {"HX-Request": "true", "HX-Current-URL": "http://testserver/statement?show=held"}
    answer = client.get("/balance/_fragment", headers=asked)
    assert answer.status_code == 401
    assert answer["HX-Redirect"] == "/sign-in?next=%2Fstatement"


def test_staff_find_the_admin_in_the_top_bar_and_students_do_not(page: Client, student: User) -> None:
    assert "/admin/" not in page.get("/studio").content.decode()
    student.is_staff = True
    student.save()
    assert 'href="/admin/"' in page.get("/studio").content.decode()


def test_a_person_of_two_workshops_chooses_where_to_be(page: Client, student: User) -> None:
    other = Workshop.objects.create(slug="other", name="Sound Lab")
    assert page.post("/workshop", {"workshop": "other"}).status_code == 404
    other.enrolments.create(user=student)
    page.post("/workshop", {"workshop": "other"})
    assert "Sound Lab" in page.get("/studio").content.decode()


def test_someone_without_a_workshop_is_told_whom_to_ask(client: Client) -> None:
    client.force_login(User.objects.create_user("lonely"))
    assert "Ask your instructor" in client.get("/studio").content.decode()
