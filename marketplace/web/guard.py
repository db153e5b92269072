"""What stands before every view: who is asking, in which time zone, and what browsers may keep."""

import zoneinfo
from collections.abc import Callable
from functools import wraps
from hashlib import sha256
from typing import Any, Concatenate, ParamSpec
from urllib.parse import urlencode, urlsplit

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.cache import patch_cache_control

from accounts.models import User
from marketplace.web.context import workshop_of

Parameters = ParamSpec("Parameters")


class SignedInRequest(HttpRequest):
    """A request after `signed_in`: its user is a person."""

    user: User


def signed_in(
    view: Callable[Concatenate[Any, Parameters], HttpResponseBase],
) -> Callable[Concatenate[HttpRequest, Parameters], HttpResponseBase]:
    """Only for people who signed in, in their workshop's time zone; browsers keep no copy.

    A page sends strangers to sign in and back; a fragment answers 401, for a sign-in form inside a page would
    be a riddle.
    """

    @wraps(view)
    def guarded(
        request: HttpRequest, /, *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> HttpResponseBase:
        if not isinstance(request.user, User):
            if request.headers.get("HX-Request"):
                return HttpResponse(status=401, headers={"HX-Redirect": _door(request)})
            return redirect_to_login(request.get_full_path())
        with timezone.override(_zone(request)):
            response = view(request, *args, **kwargs)
        # Shared laptops: the back button after "Not you?" must show nothing.
        patch_cache_control(response, private=True, no_store=True)
        return response

    return guarded


def _door(request: HttpRequest) -> str:
    """Where to sign in, and from there back to the page the fragment belongs to."""
    page = urlsplit(request.headers.get("HX-Current-URL", "")).path or "/"
    return f"{reverse('web:sign_in')}?{urlencode({'next': page})}"


def _zone(request: HttpRequest) -> zoneinfo.ZoneInfo:
    workshop = workshop_of(request)
    try:
        return zoneinfo.ZoneInfo(workshop.timezone if workshop else "UTC")
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        return zoneinfo.ZoneInfo("UTC")


class Region:
    """A part of a page that lives: the same text on first load and when fetched again.

    `html` is the fragment, `etag` names its content, so polling an unchanged page costs no body. Fragments
    therefore hold nothing that changes with each rendering (a form's token stands outside, see `form=`).
    """

    def __init__(self, request: HttpRequest, template: str, context: dict[str, Any]) -> None:
        self.html = render_to_string(template, context, request)
        self.etag = f'"{sha256(self.html.encode()).hexdigest()[:24]}"'

    def response(self, request: HttpRequest) -> HttpResponse:
        """The fragment, or 304 when the browser has it."""
        if request.headers.get("If-None-Match") == self.etag:
            return HttpResponseNotModified(headers={"ETag": self.etag})
        return HttpResponse(self.html, headers={"ETag": self.etag})
