"""Shapes of the student API: requests are checked by them, answers are written by them."""

from decimal import Decimal
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

JOB_FILTERS = (
    "held_back",
    "queued",
    "assigned",
    "loading",
    "running",
    "storing",
    "succeeded",
    "failed",
    "cancelled",
)


def credits_text(milli: int) -> str:
    """Milli-credits as decimal text with two places, for programs; exact, for amounts are steps of 10."""
    return str((Decimal(milli) / 1000).quantize(Decimal("0.01")))


class _Answer(serializers.Serializer[Any]):
    """Written by us, never read from a client."""


class ProblemSerializer(_Answer):
    code = serializers.CharField()
    message = serializers.CharField()
    node = serializers.CharField()
    node_type = serializers.CharField()
    field = serializers.CharField()


class ErrorSerializer(_Answer):
    code = serializers.CharField()
    message = serializers.CharField()
    field = serializers.CharField()
    problems = ProblemSerializer(many=True)


class InsufficientCreditsSerializer(ErrorSerializer):
    needed_milli = serializers.IntegerField()
    available_milli = serializers.IntegerField()
    shortfall_milli = serializers.IntegerField()


class TokenRequestSerializer(serializers.Serializer[Any]):
    username = serializers.CharField(max_length=150)
    password = serializers.CharField(max_length=1000, trim_whitespace=False)
    name = serializers.CharField(
        max_length=60, required=False, default="API", help_text="What this token is for."
    )


class TokenSerializer(_Answer):
    token = serializers.CharField(help_text="Shown this once.")
    prefix = serializers.CharField()


class UserSerializer(_Answer):
    id = serializers.IntegerField()
    username = serializers.CharField()
    name = serializers.CharField()


class BalanceSerializer(_Answer):
    available_milli = serializers.IntegerField()
    held_milli = serializers.IntegerField()
    available = serializers.CharField(help_text="Credits as decimal text.")
    held = serializers.CharField()


class WorkshopSerializer(_Answer):
    slug = serializers.CharField()
    name = serializers.CharField()
    role = serializers.CharField(allow_null=True)
    paused_reason = serializers.CharField()
    closed = serializers.BooleanField()
    balance = BalanceSerializer()


class MeSerializer(_Answer):
    user = UserSerializer()
    workshops = WorkshopSerializer(many=True)
    balance = BalanceSerializer(allow_null=True, help_text="Of the only workshop; null with several or none.")


class UploadRequestSerializer(serializers.Serializer[Any]):
    file = serializers.FileField(max_length=1000)
    workshop = serializers.SlugField(required=False, help_text="Needed by members of several.")


class UploadSerializer(_Answer):
    id = serializers.UUIDField()
    name = serializers.CharField(help_text="What a workflow names it.")
    sha256 = serializers.CharField()
    media_type = serializers.CharField()
    size_bytes = serializers.IntegerField()
    width = serializers.IntegerField(allow_null=True)
    height = serializers.IntegerField(allow_null=True)
    workflow = serializers.JSONField(allow_null=True, help_text="The workflow found in the picture, if any.")


class DecodedField(serializers.JSONField):
    """A part of a body that the strict parser has read; DRF's own field would encode it again to see whether
    it can be."""

    def to_internal_value(self, data: Any) -> Any:
        return data


class QuoteRequestSerializer(serializers.Serializer[Any]):
    workflow = DecodedField(
        required=False, help_text="An API-format graph, as an object or as JSON text; or name a template."
    )
    template = serializers.IntegerField(required=False, min_value=1, help_text="Id of a template.")
    values = serializers.DictField(
        child=serializers.JSONField(allow_null=True),
        required=False,
        help_text="Of the template's form; fields left out keep their default, a seed is drawn.",
    )
    title = serializers.CharField(max_length=200, required=False, allow_blank=True, default="")
    workshop = serializers.SlugField(required=False, help_text="Needed by members of several.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("workflow" in attrs) == ("template" in attrs):
            raise serializers.ValidationError({"workflow": "Send a workflow, or a template and values."})
        if "values" in attrs and "template" not in attrs:
            raise serializers.ValidationError({"values": "Values belong to a template."})
        return attrs

    def validate_workflow(self, value: Any) -> Any:
        if not isinstance(value, (dict, str)):
            raise serializers.ValidationError("An object, or JSON text, is needed.")
        return value


class QuoteLineSerializer(_Answer):
    label = serializers.CharField()  # type: ignore[assignment]
    node = serializers.CharField()
    gpu_seconds = serializers.FloatField()
    amount_milli = serializers.IntegerField()
    words = serializers.CharField()
    free = serializers.BooleanField()


class ChangeSerializer(_Answer):
    node = serializers.CharField()
    input = serializers.CharField()
    value = serializers.JSONField()


class HintSerializer(_Answer):
    words = serializers.CharField(help_text="Cheaper if …")
    saved_milli = serializers.IntegerField()
    changes = ChangeSerializer(many=True)


class ModelSerializer(_Answer):
    folder = serializers.CharField()
    name = serializers.CharField()
    size_bytes = serializers.IntegerField(allow_null=True)
    licence = serializers.CharField(allow_blank=True)
    commercial = serializers.BooleanField(allow_null=True)


class _AsStored(serializers.Field[Any, Any, Any, Any]):
    """Told as it is stored, which is plain JSON: to serialize sixty lines costs more than to price them. The
    subclass says its shape."""

    def to_representation(self, value: Any) -> Any:
        return value


@extend_schema_field(QuoteLineSerializer(many=True))
class QuoteLinesField(_AsStored):
    """Lines of a quote."""


@extend_schema_field(HintSerializer(many=True))
class HintsField(_AsStored):
    """What would be cheaper."""


@extend_schema_field(ModelSerializer(many=True))
class ModelsField(_AsStored):
    """Model files."""


class IntervalSerializer(_Answer):
    low_s = serializers.FloatField()
    high_s = serializers.FloatField()


class QuoteSerializer(_Answer):
    id = serializers.UUIDField()
    title = serializers.CharField()
    summary = serializers.CharField()
    quote_milli = serializers.IntegerField(help_text="Usual price.")
    ceiling_milli = serializers.IntegerField(help_text="Set aside when ordered; never more is paid.")
    quote = serializers.CharField()
    ceiling = serializers.CharField()
    lines = QuoteLinesField()
    rate_version = serializers.IntegerField(help_text="The version of the rates it was priced with.")
    hints = HintsField()
    models = ModelsField(help_text="Model files it loads.")
    vram_bytes = serializers.IntegerField()
    seconds_p50 = serializers.FloatField()
    seconds_p90 = serializers.FloatField()
    loading_seconds = serializers.FloatField()
    starts_in = IntervalSerializer(allow_null=True)
    balance_after_milli = serializers.IntegerField(
        help_text="Available credits once the ceiling is set aside."
    )
    balance_after = serializers.CharField()
    expires_at = serializers.DateTimeField()
    simulated = serializers.BooleanField(help_text="Only simulated GPUs serve this workshop now.")


class BidRequestSerializer(serializers.Serializer[Any]):
    bid = serializers.IntegerField(
        min_value=1, max_value=1000, help_text="Most to pay, as a multiple of the base price; 1 withdraws."
    )


class OrderRequestSerializer(serializers.Serializer[Any]):
    quote = serializers.UUIDField()
    bid = serializers.IntegerField(required=False, default=1, min_value=1, max_value=1000)
    unpaid = serializers.BooleanField(
        required=False, default=False, help_text="Without credits: later, one at a time, nothing is paid."
    )


class ArtifactSerializer(_Answer):
    id = serializers.UUIDField()
    name = serializers.CharField()
    kind = serializers.CharField()
    media_type = serializers.CharField()
    size_bytes = serializers.IntegerField()
    sha256 = serializers.CharField()
    width = serializers.IntegerField(allow_null=True)
    height = serializers.IntegerField(allow_null=True)
    url = serializers.CharField()


class ProgressSerializer(_Answer):
    phase = serializers.CharField()
    percent = serializers.FloatField()
    node = serializers.CharField()
    node_title = serializers.CharField()
    step = serializers.IntegerField(allow_null=True)
    steps = serializers.IntegerField(allow_null=True)
    stage = serializers.IntegerField(allow_null=True)
    stages = serializers.IntegerField(allow_null=True)
    remaining_ms = serializers.IntegerField(allow_null=True)
    executing_ms = serializers.IntegerField(allow_null=True)
    charged_ms = serializers.IntegerField(allow_null=True)
    note = serializers.CharField()
    preview = serializers.CharField(required=False, help_text="data: URL of a JPEG or PNG.")


class PositionSerializer(_Answer):
    position = serializers.IntegerField()
    of = serializers.IntegerField()


class JobSerializer(_Answer):
    id = serializers.UUIDField()
    number = serializers.IntegerField()
    title = serializers.CharField()
    summary = serializers.CharField()
    workshop = serializers.CharField()
    student = serializers.CharField()
    status = serializers.ChoiceField(choices=JOB_FILTERS)
    cause = serializers.CharField(allow_blank=True)
    message = serializers.CharField(allow_blank=True)
    wait_reason = serializers.CharField(allow_blank=True)
    quote_milli = serializers.IntegerField()
    ceiling_milli = serializers.IntegerField()
    held_milli = serializers.IntegerField(help_text="Set aside when it was ordered.")
    captured_milli = serializers.IntegerField(allow_null=True, help_text="Paid; null before the end.")
    returned_milli = serializers.IntegerField(allow_null=True, help_text="Of what was set aside, given back.")
    charged_ms = serializers.IntegerField(help_text="Reference GPU time.")
    bid = serializers.IntegerField(help_text="Most its owner pays, as a multiple of the base price.")
    unpaid = serializers.BooleanField(help_text="Sent without credits: it runs later and pays nothing.")
    clearing_multiplier = serializers.FloatField(
        allow_null=True, help_text="Multiple of the base price it pays; null while it waits."
    )
    clearing_reason = serializers.CharField(allow_blank=True, help_text="Why that multiple.")
    bought_milli = serializers.IntegerField(
        allow_null=True, help_text="Paid afterwards for what a failed job did produce."
    )
    simulated = serializers.BooleanField()
    agent = serializers.CharField(allow_blank=True)
    event_seq = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    artifacts = ArtifactSerializer(many=True)


class ReceiptSerializer(_Answer):
    """All as credits in decimal text; held = captured + returned."""

    quote = serializers.CharField()
    held = serializers.CharField()
    captured = serializers.CharField()
    returned = serializers.CharField()
    available = serializers.CharField(allow_null=True, help_text="The owner's balance now.")


class JobDetailSerializer(JobSerializer):
    position = PositionSerializer(allow_null=True)
    starts_in = IntervalSerializer(allow_null=True)
    progress = ProgressSerializer(allow_null=True)
    receipt = ReceiptSerializer(allow_null=True, help_text="Once it has ended.")


class JobListSerializer(_Answer):
    jobs = JobSerializer(many=True)
    next_before = serializers.IntegerField(allow_null=True, help_text="`before` of the next page.")


class JobQuerySerializer(serializers.Serializer[Any]):
    status = serializers.ChoiceField(choices=JOB_FILTERS, required=False)
    before = serializers.IntegerField(required=False, min_value=1, max_value=2**62, help_text="Job number.")
    everyone = serializers.BooleanField(required=False, default=False, help_text="Staff: all visible jobs.")


class CancelSerializer(_Answer):
    status = serializers.CharField()
    captured_milli = serializers.IntegerField()
    returned_milli = serializers.IntegerField()
    pending = serializers.BooleanField(help_text="The GPU was asked to stop; amounts are as they stand now.")


class EventSerializer(_Answer):
    seq = serializers.IntegerField()
    kind = serializers.CharField()
    data = serializers.JSONField()  # type: ignore[assignment]
    at = serializers.DateTimeField()


class EventListSerializer(_Answer):
    events = EventSerializer(many=True)
    seq = serializers.IntegerField(help_text="The job's last event.")


class EventQuerySerializer(serializers.Serializer[Any]):
    after = serializers.IntegerField(required=False, default=0, min_value=0, max_value=2**31 - 1)


class StatementLineSerializer(_Answer):
    seq = serializers.IntegerField()
    id = serializers.CharField()
    at = serializers.DateTimeField()
    kind = serializers.CharField()
    amount_milli = serializers.IntegerField()
    amount = serializers.CharField()
    available_milli = serializers.IntegerField()
    held_milli = serializers.IntegerField()
    subject = serializers.CharField(allow_blank=True)
    reason = serializers.CharField(allow_blank=True)


class StatementSerializer(_Answer):
    workshop = serializers.CharField()
    balance = BalanceSerializer()
    lines = StatementLineSerializer(many=True)
    next_before = serializers.IntegerField(allow_null=True)


class StatementQuerySerializer(serializers.Serializer[Any]):
    workshop = serializers.SlugField(required=False)
    before = serializers.IntegerField(required=False, min_value=1, max_value=2**62)
