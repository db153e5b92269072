"""Templates in the student API: what the workshop offers, and the form of one."""

from typing import Any, cast

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import User
from jobs import queries, templates
from jobs.models import Template
from marketplace.api.serializers import ErrorSerializer, credits_text
from marketplace.api.views import workshop_asked_for
from marketplace.market import publishing

_REFUSED = {400: ErrorSerializer, 401: ErrorSerializer, 404: ErrorSerializer}


class TemplateQuerySerializer(serializers.Serializer[Any]):
    workshop = serializers.SlugField(required=False, help_text="Needed by members of several.")


class ModelFileSerializer(serializers.Serializer[Any]):
    folder = serializers.CharField(help_text="Below ComfyUI's models folder.")
    name = serializers.CharField()
    size_bytes = serializers.IntegerField(allow_null=True)
    licence = serializers.CharField(help_text="Empty: not known.")
    commercial = serializers.BooleanField(allow_null=True, help_text="Null: nobody has said.")
    url = serializers.CharField()


class TemplateSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    slug = serializers.CharField()
    version = serializers.IntegerField()
    name = serializers.CharField()
    description = serializers.CharField()
    category = serializers.CharField()
    workshop = serializers.CharField()
    paused_reason = serializers.CharField(help_text="Not empty: what is ordered waits.")
    models = ModelFileSerializer(many=True)
    from_milli = serializers.IntegerField(
        allow_null=True, help_text="About, at its defaults; null: no price now."
    )
    from_credits = serializers.CharField(allow_null=True)


class TemplateListSerializer(serializers.Serializer[Any]):
    templates = TemplateSerializer(many=True)


class FormFieldSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(help_text="Key in the `values` of POST /api/v1/quotes.")
    label = serializers.CharField()  # type: ignore[assignment]
    help = serializers.CharField()
    kind = serializers.ChoiceField(
        choices=["text", "integer", "number", "choice", "boolean", "image", "seed"],
        help_text="image: the name of an upload of yours. seed: left out, one is drawn.",
    )
    default = serializers.JSONField()
    minimum = serializers.FloatField(allow_null=True)
    maximum = serializers.FloatField(allow_null=True)
    step = serializers.FloatField(allow_null=True)
    choices = serializers.ListField(child=serializers.JSONField())


class TemplateDetailSerializer(TemplateSerializer):
    form = FormFieldSerializer(many=True)
    refusal = serializers.CharField(
        help_text="Why the workshop's rule on licences keeps it back; empty: it doesn't."
    )


class TemplatesView(APIView):
    """Templates of a workshop."""

    @extend_schema(
        operation_id="list_templates",
        parameters=[TemplateQuerySerializer],
        responses={200: TemplateListSerializer, **_REFUSED},
    )
    def get(self, request: Request) -> Response:
        asked = TemplateQuerySerializer(data=request.query_params.dict())
        asked.is_valid(raise_exception=True)
        user = cast(User, request.user)
        workshop = workshop_asked_for(user, asked.validated_data.get("workshop"))
        found = [self._words(row) for row in queries.templates_for(user, workshop)]
        return Response(TemplateListSerializer({"templates": found}).data)

    def _words(self, row: Template) -> dict[str, Any]:
        from_milli = publishing.price_from_milli(row)
        return {
            "id": row.pk,
            "slug": row.slug,
            "version": row.version,
            "name": row.name,
            "description": row.description,
            "category": row.category,
            "workshop": row.workshop.slug,
            "paused_reason": row.paused_reason,
            "models": row.model_files,
            "from_milli": from_milli,
            "from_credits": None if from_milli is None else credits_text(from_milli),
        }


class TemplateView(TemplatesView):
    """One template, with its form."""

    @extend_schema(operation_id="get_template", responses={200: TemplateDetailSerializer, **_REFUSED})
    def get(self, request: Request, template_id: int) -> Response:  # type: ignore[override]
        user = cast(User, request.user)
        row = queries.visible_template(user, template_id)
        blank: dict[str, Any] = {
            "help": "",
            "minimum": None,
            "maximum": None,
            "step": None,
            "choices": [],
            "default": None,
        }
        form = [{**blank, "label": one["name"], **one} for one in row.form]
        refusal = templates.licence_refusal(row, row.workshop)
        words = {**self._words(row), "form": form, "refusal": refusal}
        return Response(TemplateDetailSerializer(words).data)
