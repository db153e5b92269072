"""The ground the tests stand on: embedded stores, a flush that triggers allow, no way to the network."""

import os
import socket

import psycopg
import pytest
import pytest_socket
import redis
from django.db import connection

from tests.polling import poll


def test_both_stores_answer() -> None:
    with psycopg.connect(os.environ["DATABASE_URL"]) as database:
        assert database.execute("SELECT 1").fetchone() == (1,)
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
        assert client.ping()


@pytest.mark.filterwarnings("ignore:A test tried to use")  # the guard warns before it raises
def test_another_host_is_out_of_reach() -> None:
    with pytest.raises(pytest_socket.SocketConnectBlockedError):
        socket.create_connection(("192.0.2.1", 80), timeout=1)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("time", ["first", "second"])
def test_rows_that_refuse_deletion_are_gone_after_a_test(time: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SHOW session_replication_role")
        assert cursor.fetchone() == ("origin",), "triggers work inside the test"
        cursor.execute("SELECT count(*) FROM django_session")
        assert cursor.fetchone() == (0,)
        cursor.execute(
            """
            CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN RAISE 'rows stay'; END $$;
            CREATE OR REPLACE TRIGGER rows_stay BEFORE TRUNCATE ON django_session
            EXECUTE FUNCTION refuse();
            INSERT INTO django_session VALUES ('key', 'data', now());
            """
        )


def test_polling_gives_the_last_answer_when_time_is_up() -> None:
    with pytest.raises(AssertionError, match="green light within 0 s; last answer: 0"):
        poll(lambda: 0, seconds=0, what="green light")
