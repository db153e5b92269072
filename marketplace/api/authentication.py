"""API tokens for DRF, and their entry in the OpenAPI schema."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from accounts.models import ApiToken, User
from marketplace.api import tokens
from marketplace.api.callers import bearer


class ApiTokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer <token>`, with a token of POST /api/v1/token."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        text = request.headers.get("Authorization", "")
        if not text:
            return None
        row = tokens.find(bearer(text))
        if row is None:
            raise AuthenticationFailed("This token is not valid, or no longer.")
        return row.user, row

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class ApiTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "marketplace.api.authentication.ApiTokenAuthentication"
    name = "apiToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}
