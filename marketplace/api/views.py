"""The student API: check the request's shape, call one door, answer in the shapes of `serializers.py`."""

import uuid
from typing import Any, cast

from django.contrib.auth import authenticate
from django.http import HttpResponse, HttpResponseRedirect
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.parsers import BaseParser, MultiPartParser
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from accounts import access, lockout
from accounts.ledger import balances, posting
from accounts.models import User, Workshop
from jobs import artifacts, queries, uploads
from marketplace.api import serializers as shapes
from marketplace.api import tokens, words
from marketplace.api.callers import bearer
from marketplace.api.errors import ApiError, StrictJSONParser
from marketplace.market import orders, template_quotes

PAGE_ROWS = 50
MAX_KEY_CHARACTERS = 200

_ERROR = shapes.ErrorSerializer
_REFUSED = {400: _ERROR, 401: _ERROR}
_IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="Up to 200 printable characters. The same key with the same quote gives the same job again.",
)


class _View(APIView):
    parser_classes: tuple[type[BaseParser], ...] = (StrictJSONParser,)

    @property
    def user(self) -> User:
        return cast(User, self.request.user)


class TokenView(_View):
    """Trade a name and password for a token."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(
        operation_id="create_token",
        request=shapes.TokenRequestSerializer,
        responses={201: shapes.TokenSerializer, 400: _ERROR, 401: _ERROR, 429: _ERROR},
        auth=[],
    )
    def post(self, request: Request) -> Response:
        asked = _checked(shapes.TokenRequestSerializer, request.data)
        username, address = asked["username"], lockout.address_of(request._request)
        seconds = lockout.locked_seconds(username, address)
        if seconds:
            message = f"Too many wrong passwords. Try again in {-(-seconds // 60)} min."
            refused = ApiError(429, "locked", message)
            refused.headers["Retry-After"] = str(seconds)
            raise refused
        user = authenticate(request._request, username=username, password=asked["password"])
        if not isinstance(user, User):
            raise ApiError(401, "wrong_credentials", "Name or password is wrong.")
        token = tokens.make(user, asked["name"])
        return _written(shapes.TokenSerializer, {"token": token, "prefix": token[:8]}, 201)

    @extend_schema(operation_id="revoke_token", request=None, responses={204: None})
    def delete(self, request: Request) -> Response:
        row = tokens.find(bearer(request.headers.get("Authorization", "")))
        if row is None:
            raise ApiError(401, "not_authenticated", "This token is not valid, or no longer.")
        tokens.revoke(row)
        return Response(status=204)


class MeView(_View):
    """Who the caller is, in which workshops, with which balance."""

    @extend_schema(operation_id="me", responses={200: shapes.MeSerializer, 401: _ERROR})
    def get(self, request: Request) -> Response:
        found = [words.workshop_words(self.user, workshop) for workshop in access.workshops_of(self.user)]
        balance = found[0]["balance"] if len(found) == 1 else None
        answer = {"user": words.user_words(self.user), "workshops": found, "balance": balance}
        return _written(shapes.MeSerializer, answer)


class UploadsView(_View):
    """Files workflows read."""

    parser_classes = (MultiPartParser,)

    @extend_schema(
        operation_id="upload_file",
        request={"multipart/form-data": shapes.UploadRequestSerializer},
        responses={201: shapes.UploadSerializer, **_REFUSED, 413: _ERROR, 507: _ERROR},
    )
    def post(self, request: Request) -> Response:
        asked = _checked(shapes.UploadRequestSerializer, request.data)
        workshop = workshop_asked_for(self.user, asked.get("workshop"))
        if not access.may_submit(self.user, workshop):
            raise orders.NotAllowed("You may not bring files to this workshop.")
        file = asked["file"]
        received = uploads.receive(self.user, workshop, file.name or "file", file.file)
        return _written(shapes.UploadSerializer, words.upload_words(received.upload, received.workflow), 201)


class QuotesView(_View):
    """Prices."""

    @extend_schema(
        operation_id="create_quote",
        request=shapes.QuoteRequestSerializer,
        responses={201: shapes.QuoteSerializer, **_REFUSED, 413: _ERROR, 503: _ERROR},
    )
    def post(self, request: Request) -> Response:
        asked = _checked(shapes.QuoteRequestSerializer, request.data)
        if "template" in asked:
            template = queries.visible_template(self.user, asked["template"])
            filled = template_quotes.store(self.user, template, asked.get("values", {}), title=asked["title"])
            return _written(shapes.QuoteSerializer, words.quote_words(self.user, filled), 201)
        workflow = asked["workflow"]
        body = workflow.encode() if isinstance(workflow, str) else workflow
        workshop = workshop_asked_for(self.user, asked.get("workshop"))
        quote = orders.quote(self.user, workshop, body, title=asked["title"])
        return _written(shapes.QuoteSerializer, words.quote_words(self.user, quote), 201)


class JobsView(_View):
    """Jobs: order one, list them."""

    @extend_schema(
        operation_id="list_jobs",
        parameters=[shapes.JobQuerySerializer],
        responses={200: shapes.JobListSerializer, **_REFUSED},
    )
    def get(self, request: Request) -> Response:
        asked = _checked(shapes.JobQuerySerializer, request.query_params.dict())
        found = queries.visible_jobs(self.user).order_by("-number")
        if not asked["everyone"]:
            found = found.filter(student=self.user)
        if "status" in asked:
            found = found.filter(status=asked["status"])
        if "before" in asked:
            found = found.filter(number__lt=asked["before"])
        rows = list(found[: PAGE_ROWS + 1])
        more = rows[PAGE_ROWS - 1].number if len(rows) > PAGE_ROWS else None
        answer = {"jobs": words.jobs_words(self.user, rows[:PAGE_ROWS]), "next_before": more}
        return _written(shapes.JobListSerializer, answer)

    @extend_schema(
        operation_id="order_job",
        request=shapes.OrderRequestSerializer,
        parameters=[_IDEMPOTENCY_KEY],
        responses={
            201: shapes.JobDetailSerializer,
            **_REFUSED,
            402: shapes.InsufficientCreditsSerializer,
            **dict.fromkeys((403, 404, 409, 410, 429), _ERROR),
        },
    )
    def post(self, request: Request) -> Response:
        asked = _checked(shapes.OrderRequestSerializer, request.data)
        key = _idempotency_key(request)
        job = orders.place(self.user, asked["quote"], key=key, bid=asked["bid"], unpaid=asked["unpaid"])
        found = queries.visible_job(self.user, job.pk)
        return _written(shapes.JobDetailSerializer, words.job_words(self.user, found), 201)


class JobView(_View):
    """One job."""

    @extend_schema(
        operation_id="get_job", responses={200: shapes.JobDetailSerializer, 401: _ERROR, 404: _ERROR}
    )
    def get(self, request: Request, job_id: uuid.UUID) -> Response:
        job = queries.visible_job(self.user, job_id)
        return _written(shapes.JobDetailSerializer, words.job_words(self.user, job))


class CancelView(_View):
    """Stop a job."""

    @extend_schema(
        operation_id="cancel_job",
        request=None,
        responses={200: shapes.CancelSerializer, 401: _ERROR, 404: _ERROR},
    )
    def post(self, request: Request, job_id: uuid.UUID) -> Response:
        result = orders.cancel(queries.visible_job(self.user, job_id), self.user)
        answer = {
            "status": result.status,
            "captured_milli": result.captured_milli,
            "returned_milli": result.returned_milli,
            "pending": result.pending,
        }
        return _written(shapes.CancelSerializer, answer)


class BidView(_View):
    """Raise, lower or withdraw the bid of one's own waiting job."""

    @extend_schema(
        operation_id="bid_on_job",
        request=shapes.BidRequestSerializer,
        responses={200: shapes.JobDetailSerializer, **_REFUSED, 402: _ERROR, 404: _ERROR, 409: _ERROR},
    )
    def post(self, request: Request, job_id: uuid.UUID) -> Response:
        asked = _checked(shapes.BidRequestSerializer, request.data)
        job = orders.rebid(queries.visible_job(self.user, job_id), self.user, asked["bid"])
        return _written(shapes.JobDetailSerializer, words.job_words(self.user, job))


class BuyView(_View):
    """Pay for what one's own failed job did produce."""

    @extend_schema(
        operation_id="buy_job",
        request=None,
        responses={200: shapes.JobDetailSerializer, 401: _ERROR, 402: _ERROR, 404: _ERROR, 409: _ERROR},
    )
    def post(self, request: Request, job_id: uuid.UUID) -> Response:
        job = orders.buy_failed(queries.visible_job(self.user, job_id), self.user)
        return _written(shapes.JobDetailSerializer, words.job_words(self.user, job))


class EventsView(_View):
    """What happened to a job, in order; for clients without a socket."""

    @extend_schema(
        operation_id="list_job_events",
        parameters=[shapes.EventQuerySerializer],
        responses={200: shapes.EventListSerializer, **_REFUSED, 404: _ERROR},
    )
    def get(self, request: Request, job_id: uuid.UUID) -> Response:
        asked = _checked(shapes.EventQuerySerializer, request.query_params.dict())
        job = queries.visible_job(self.user, job_id)
        found = [words.event_words(event) for event in queries.events_after(job, asked["after"])]
        return _written(shapes.EventListSerializer, {"events": found, "seq": job.event_seq})


class StatementView(_View):
    """Every movement of the caller's credits in a workshop, newest first."""

    @extend_schema(
        operation_id="statement",
        parameters=[shapes.StatementQuerySerializer],
        responses={200: shapes.StatementSerializer, **_REFUSED},
    )
    def get(self, request: Request) -> Response:
        asked = _checked(shapes.StatementQuerySerializer, request.query_params.dict())
        workshop = workshop_asked_for(self.user, asked.get("workshop"))
        if access.role_in(self.user, workshop.pk) is None:
            raise ApiError(404, "not_found", "You have no account in this workshop.", "workshop")
        account_id = posting.member_account(self.user, workshop)
        lines = balances.statement(account_id, before=asked.get("before"), limit=PAGE_ROWS + 1)
        shown = lines[:PAGE_ROWS]
        answer = {
            "workshop": workshop.slug,
            "balance": words.balance_words(balances.balance(account_id)),
            "lines": [words.line_words(line) for line in shown],
            "next_before": shown[-1].seq if len(lines) > PAGE_ROWS else None,
        }
        return _written(shapes.StatementSerializer, answer)


class ArtifactView(_View):
    """An output, by its row: checks that the caller may see it, then leads to the file for five minutes."""

    @extend_schema(
        operation_id="get_artifact",
        parameters=[OpenApiParameter("download", bool, description="Save it rather than show it.")],
        responses={302: OpenApiResponse(description="The file, with Range."), 401: _ERROR, 404: _ERROR},
    )
    def get(self, request: Request, artifact_id: uuid.UUID) -> HttpResponse:
        row = queries.visible_artifacts(self.user).get(pk=artifact_id)
        download = request.query_params.get("download", "") in ("1", "true")
        return _temporary(artifacts.link(row.sha256, row.name, row.media_type, download=download))


class ThumbnailView(_View):
    """The small picture of an output, else the output itself if it is a picture."""

    @extend_schema(
        operation_id="get_thumbnail",
        responses={302: OpenApiResponse(description="The picture."), 401: _ERROR, 404: _ERROR},
    )
    def get(self, request: Request, artifact_id: uuid.UUID) -> HttpResponse:
        row = queries.visible_artifacts(self.user).get(pk=artifact_id)
        if row.thumbnail_sha256:
            return _temporary(artifacts.link(row.thumbnail_sha256, f"{row.pk}.webp", "image/webp"))
        if row.kind == "image":
            return _temporary(artifacts.link(row.sha256, row.name, row.media_type))
        raise ApiError(404, "not_found", "There is no picture of this output.")


class NotFoundView(_View):
    """Addresses the API does not have."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        raise ApiError(404, "not_found", "The API has no such address.")


def _checked(kind: type[Serializer[Any]], data: Any) -> dict[str, Any]:
    """The request's values by `kind`; DRF answers what does not fit."""
    asked = kind(data=data)
    asked.is_valid(raise_exception=True)
    return cast(dict[str, Any], asked.validated_data)


def _written(kind: type[Serializer[Any]], answer: dict[str, Any], status: int = 200) -> Response:
    return Response(kind(answer).data, status=status)


def workshop_asked_for(user: User, slug: str | None) -> Workshop:
    """The workshop asked for, or the user's only open one."""
    mine = access.workshops_of(user)
    if slug is not None:
        found = mine.filter(slug=slug).first()
        if found is None:
            raise ApiError(404, "workshop_unknown", "You belong to no such workshop.", "workshop")
        return found
    several = list(mine.filter(closed_at=None)[:2]) or list(mine[:2])
    if len(several) != 1:
        message = "Say which workshop." if several else "You belong to no workshop."
        raise ApiError(400, "workshop_needed", message, "workshop")
    return several[0]


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not 0 < len(key) <= MAX_KEY_CHARACTERS or not key.isascii() or not key.isprintable():
        message = f"Idempotency-Key must be 1 to {MAX_KEY_CHARACTERS} printable ASCII characters."
        raise ApiError(400, "bad_key", message, "Idempotency-Key")
    return key


def _temporary(location: str) -> HttpResponseRedirect:
    answer = HttpResponseRedirect(location)
    answer["Cache-Control"] = "private, no-store"
    return answer
