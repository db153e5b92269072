"""Pages while PostgreSQL is away."""

from typing import Any, NoReturn

import pytest
from django.db import OperationalError, connection
from django.test import Client

pytestmark = pytest.mark.django_db


def _away(*_query: Any) -> NoReturn:
    raise OperationalError("the connection was refused")


def test_a_page_without_database_says_so_and_asks_again(client: Client) -> None:
    client.cookies["sessionid"] = "a" * 32
    with connection.execute_wrapper(_away):
        answer = client.get("/studio")
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert "restarting" in answer.content.decode()
    assert 'http-equiv="refresh"' in answer.content.decode()


def test_other_faults_are_not_taken_for_a_missing_database(client: Client) -> None:
    assert client.get("/no-such-page").status_code == 404
