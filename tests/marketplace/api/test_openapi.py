"""The OpenAPI schema describes the API that is there."""

from io import StringIO

import pytest
from django.core.management import call_command
from django.urls import get_resolver
from rest_framework.test import APIClient


def test_the_schema_is_made_without_a_warning_and_is_valid() -> None:
    call_command("spectacular", "--fail-on-warn", "--validate", "--format", "openapi-json", stdout=StringIO())


@pytest.mark.django_db
def test_every_address_of_the_api_is_described(api: APIClient) -> None:
    paths = api.get("/api/v1/schema").json()["paths"]
    named = {
        str(pattern.pattern)
        for entry in get_resolver().url_patterns
        if getattr(entry, "namespace", None) == "api"
        for pattern in entry.url_patterns
        if pattern.name not in (None, "schema")
    }
    plain = {path.lstrip("/").replace("{job_id}", "<uuid:job_id>") for path in paths}
    plain = {path.replace("{template_id}", "<int:template_id>") for path in plain}
    assert named == {path.replace("{artifact_id}", "<uuid:artifact_id>") for path in plain}


@pytest.mark.django_db
def test_every_operation_says_how_it_answers(api: APIClient) -> None:
    schema = api.get("/api/v1/schema").json()
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            assert any(code.startswith(("2", "3")) for code in operation["responses"]), (path, method)
            assert "Error" in str(operation["responses"]) or method == "delete", (path, method)
