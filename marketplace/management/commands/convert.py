"""Print the API form of an editor's file: `manage.py convert FILE [--node-definitions FILE]`."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from jobs.job_types.base import Refusal
from jobs.job_types.comfyui import graph
from jobs.job_types.comfyui.convert import convert
from jobs.job_types.comfyui.job_type import ComfyUI
from marketplace.management.commands.quote import definitions


class Command(BaseCommand):
    help = "Print the API form of a ComfyUI workflow file (UI format, or a picture that carries one)."
    requires_system_checks = ()  # arithmetic on a file: no URL, no template has a part in it

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument(
            "--node-definitions",
            type=Path,
            help="ComfyUI's /object_info (.json or .json.gz); default: the newest an agent published",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            data = ComfyUI().parse(options["file"].read_bytes())
            if graph.is_ui_format(data):
                converted = convert(data, definitions(options["node_definitions"]))
                data = converted.graph
                for warning in converted.warnings:
                    self.stderr.write(f"{warning.code}: {warning.message}")
        except OSError as error:
            raise CommandError(str(error)) from error
        except Refusal as refusal:
            raise CommandError("\n".join(f"{p.code}: {p.message}" for p in refusal.problems)) from refusal
        self.stdout.write(json.dumps(data, ensure_ascii=False, indent=1))
