"""What every page that shows a price shows of it."""

import json
from typing import Any

from django.db.models import Q
from django.http import HttpResponse

from accounts.models import Workshop
from jobs.artifacts import content_disposition
from marketplace.fleet.models import Agent
from marketplace.market.models import Quote


def context(quote: Quote) -> dict[str, Any]:
    """`quote`, its lines with titles, the longest line in seconds, and whether its GPUs are simulated."""
    longest = max((line["gpu_seconds"] for line in quote.lines if not line.get("free")), default=0)
    return {
        "quote": quote,
        "rows": [{**line, "title": _title(quote, line)} for line in quote.lines],
        "longest": longest,
        "simulated": only_simulated(quote.workshop),
    }


def only_simulated(workshop: Workshop) -> bool:
    """Whether nothing but simulated GPUs serves the workshop now."""
    serving = Agent.objects.filter(Q(workshop=None) | Q(workshop=workshop)).filter(
        state__in=(Agent.State.READY, Agent.State.DRAINING)
    )
    return set(serving.values_list("simulated", flat=True).distinct()) == {True}


def workflow_file(payload: dict[str, Any], title: str) -> HttpResponse:
    """A workflow to save."""
    body = json.dumps(payload, indent=2, ensure_ascii=False)
    name = content_disposition(f"{title}.json", shown=False)
    return HttpResponse(body, content_type="application/json", headers={"Content-Disposition": name})


def _title(quote: Quote, line: dict[str, Any]) -> str:
    return str(quote.nodes.get(line.get("node", ""), {}).get("title", ""))
