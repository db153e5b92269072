"""Price a workflow file from the shell: `manage.py quote FILE [--json] [--node-definitions FILE]`."""

import gzip
import json
from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.ledger.credits import format_credits
from jobs.job_types import registry
from jobs.job_types.base import AssumedUploads, Demand, Refusal, Surroundings
from marketplace.fleet.models import Inventory
from marketplace.pricing.quote import PricedQuote, price
from marketplace.pricing.rates import DEFAULT_RATE


class Command(BaseCommand):
    help = "Price a workflow file: price, ceiling, line items, VRAM. Uploads and models are taken as present."

    requires_system_checks = ()  # arithmetic on a file: no URL, no template has a part in it

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
        parser.add_argument(
            "--node-definitions",
            type=Path,
            help="ComfyUI's /object_info (.json or .json.gz); default: the newest an agent published",
        )
        parser.add_argument("--job-type", default="comfyui")

    def handle(self, *args: Any, **options: Any) -> None:
        job_type = registry.get(options["job_type"])
        try:
            body = options["file"].read_bytes()
            around = Surroundings(
                node_definitions=definitions(options["node_definitions"]),
                any_model=True,
                uploads=AssumedUploads(),
            )
            demand = job_type.demand(job_type.check(job_type.parse(body), around))
        except OSError as error:
            raise CommandError(str(error)) from error
        except Refusal as refusal:
            raise CommandError("\n".join(f"{p.code}: {p.message}" for p in refusal.problems)) from refusal
        quote = price(demand, DEFAULT_RATE)
        if options["json"]:
            self.stdout.write(json.dumps(as_json(demand, quote), ensure_ascii=False))
        else:
            self.stdout.write("\n".join(as_text(demand, quote)))


def definitions(path: Path | None) -> dict[str, Any]:
    """Node definitions from a file, or the newest an agent published. Raises CommandError without either."""
    if path is not None:
        raw = path.read_bytes()
        try:
            found = json.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)
        except (ValueError, gzip.BadGzipFile) as error:
            raise CommandError(f"{path} holds no node definitions: {error}") from error
        if not isinstance(found, dict):
            raise CommandError(f"{path} holds no node definitions.")
        return found
    newest = Inventory.objects.exclude(node_definitions=None).order_by("-published_at").first()
    if newest is None or newest.node_definitions is None:
        raise CommandError("No agent has published node definitions yet: use --node-definitions.")
    body: dict[str, Any] = newest.node_definitions.body
    return body


def as_json(demand: Demand, quote: PricedQuote) -> dict[str, Any]:
    """Everything a quote says, amounts in milli-credits."""
    said = asdict(quote)
    said["milli_per_gpu_second"] = float(quote.milli_per_gpu_second)
    return {
        **said,
        "summary": demand.summary,
        "vram_bytes": demand.vram_bytes,
        "model_key": demand.model_key,
        "model_class": demand.model_class,
    }


def as_text(demand: Demand, quote: PricedQuote) -> list[str]:
    """The quote as lines for a terminal."""
    usual, most = format_credits(quote.quote_milli), format_credits(quote.ceiling_milli)
    rows = [
        demand.summary,
        f"usually {usual}, never above {most} credits",
        f"runs {quote.seconds_p50:.1f} s, nine times in ten under {quote.seconds_p90:.1f} s",
        f"loads {quote.loading_seconds:.0f} s, not charged",
        f"memory {demand.vram_bytes / 1e9:.1f} GB; rate version {quote.rate_version}",
    ]
    for line in quote.lines:
        amount = "free" if line.free else format_credits(line.amount_milli)
        rows.append(f"  {amount:>9}  {line.label:<14} {line.node:<10} {line.words}")
    return rows
