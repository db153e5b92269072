"""`manage.py convert`: the API form of an editor's file."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tests.jobs.job_types.comfyui.graphs import DEFINITIONS
from tests.jobs.job_types.comfyui.ui_files import Ui, text_to_image_ui


def converted(tmp_path: Path, data: dict[str, Any]) -> tuple[dict[str, Any], str]:
    (tmp_path / "ui.json").write_text(json.dumps(data))
    (tmp_path / "definitions.json").write_text(json.dumps(DEFINITIONS))
    out, err = StringIO(), StringIO()
    told = f"--node-definitions={tmp_path / 'definitions.json'}"
    call_command("convert", str(tmp_path / "ui.json"), told, stdout=out, stderr=err)
    return json.loads(out.getvalue()), err.getvalue()


def test_the_api_form_is_printed(tmp_path: Path) -> None:
    graph, warnings = converted(tmp_path, text_to_image_ui().data)
    assert graph["5"]["inputs"]["steps"] == 20
    assert warnings == ""


def test_warnings_go_beside_it_and_refusals_end_it(tmp_path: Path) -> None:
    loose = Ui().add(1, "SaveImage", "x")
    loose.nodes[0]["inputs"] = [{"name": "images", "type": "IMAGE", "link": 5}]
    assert "broken_link" in converted(tmp_path, loose.data)[1]
    with pytest.raises(CommandError, match="unknown_node: Alien"):
        converted(tmp_path, Ui().add(1, "Alien").data)
    with pytest.raises(CommandError, match="No such file"):
        call_command("convert", str(tmp_path / "absent.json"))
