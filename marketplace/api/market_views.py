"""The market over the API: the line under aliases, prices, GPUs and the class's clock."""

from dataclasses import asdict
from typing import Any, cast

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import User
from accounts.sessions import State
from marketplace.api import serializers as shapes
from marketplace.api.views import workshop_asked_for
from marketplace.market import market_view
from marketplace.market.market_view import Market


class _Answer(serializers.Serializer[Any]):
    """Written by us, never read from a client."""


class MarketQuerySerializer(_Answer):
    workshop = serializers.SlugField(required=False, help_text="Needed by who belongs to several.")


class MarketRowSerializer(_Answer):
    place = serializers.IntegerField(allow_null=True, help_text="Null: held back by its owner's cap.")
    mine = serializers.BooleanField()
    who = serializers.CharField(help_text="An alias; empty for one's own.")
    gpu_seconds = serializers.FloatField()
    bid = serializers.IntegerField()
    unpaid = serializers.BooleanField()
    demo = serializers.BooleanField()
    job = serializers.UUIDField(allow_null=True, help_text="One's own only, as are number and title.")
    number = serializers.IntegerField(allow_null=True)
    title = serializers.CharField()
    starts_in_seconds = serializers.ListField(
        child=serializers.FloatField(), allow_null=True, help_text="From and to."
    )


class ClearingSerializer(_Answer):
    at = serializers.DateTimeField()
    multiple = serializers.FloatField(help_text="Mean over five minutes from then, of the base price.")


class MarketGpuSerializer(_Answer):
    name = serializers.CharField()
    device = serializers.CharField()
    vram_used_bytes = serializers.IntegerField()
    vram_total_bytes = serializers.IntegerField()
    models = serializers.ListField(child=serializers.CharField())
    state = serializers.ChoiceField(["running", "ready", "warming", "paused", "draining", "lost"])
    reason = serializers.CharField()
    who = serializers.CharField(help_text="Alias of whose job runs.")
    mine = serializers.BooleanField()
    demo = serializers.BooleanField()
    simulated = serializers.BooleanField()


class ClassClockSerializer(_Answer):
    title = serializers.CharField()
    state = serializers.ChoiceField(State.values)
    opens_at = serializers.DateTimeField()
    last_call_at = serializers.DateTimeField()
    closes_at = serializers.DateTimeField()


class NoticeSerializer(_Answer):
    at = serializers.DateTimeField()
    words = serializers.CharField()


class MarketSerializer(_Answer):
    workshop = serializers.SlugField()
    policy = serializers.CharField()
    rule = serializers.CharField(help_text="The policy in a sentence or two.")
    bids_count = serializers.BooleanField()
    bids_frozen = serializers.BooleanField()
    paused_reason = serializers.CharField()
    alias = serializers.CharField(help_text="The caller's own.")
    clock = ClassClockSerializer(allow_null=True)
    in_line = serializers.IntegerField()
    held_back = serializers.IntegerField()
    mine_in_line = serializers.IntegerField()
    line = MarketRowSerializer(many=True, help_text="The head of the line, and one's own jobs behind it.")
    base_milli_per_gpu_second = serializers.IntegerField()
    multiple_now = serializers.FloatField()
    multiple_last_hour = serializers.FloatField()
    gpu_seconds_for_a_credit = serializers.FloatField()
    clearing = ClearingSerializer(many=True)
    gpus = MarketGpuSerializer(many=True)
    notices = NoticeSerializer(many=True)


class MarketView(APIView):
    """The market of a workshop, as its members see it."""

    @extend_schema(
        operation_id="market",
        parameters=[MarketQuerySerializer],
        responses={200: MarketSerializer, 400: shapes.ErrorSerializer, 401: shapes.ErrorSerializer},
    )
    def get(self, request: Request) -> Response:
        asked = MarketQuerySerializer(data=request.query_params.dict())
        asked.is_valid(raise_exception=True)
        user = cast(User, request.user)
        workshop = workshop_asked_for(user, asked.validated_data.get("workshop"))
        found = market_view.view(user, workshop)
        return Response(MarketSerializer({"workshop": workshop.slug, **market_words(found)}).data)


def market_words(found: Market) -> dict[str, Any]:
    """The market in the shape of `MarketSerializer`, less the workshop."""
    line = [
        {**asdict(row), "job": row.job_id, "starts_in_seconds": row.starts_in and list(row.starts_in)}
        for row in found.rows
    ]
    return {**asdict(found), "line": line, "gpu_seconds_for_a_credit": found.seconds_for_a_credit}
