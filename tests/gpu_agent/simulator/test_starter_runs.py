"""The site's own templates run through the simulator to a file."""

import pytest

from gpu_agent.simulator.definitions import own_definitions
from jobs.job_types.base import Surroundings, UploadedFile
from jobs.job_types.comfyui import form
from jobs.job_types.comfyui.job_type import ComfyUI
from jobs.job_types.comfyui.starters import STARTERS, StarterTemplate
from tests.gpu_agent.simulator.pictures import png
from tests.gpu_agent.simulator.talk import Talk


@pytest.mark.parametrize("starter", STARTERS, ids=lambda one: one.slug)
def test_a_starter_ends_in_a_file(starter: StarterTemplate, talk: Talk) -> None:
    upload = UploadedFile("c0" * 32, "scan.png", 100, width=64, height=64)
    talk.http.post(
        "/upload/image", files={"image": ("c0" * 32 + ".png", png((90, 120, 60)))}
    ).raise_for_status()
    small = {
        row["name"]: row["minimum"] for row in starter.form if row["name"] in ("width", "height", "frames")
    }
    pictures = {row["name"]: "scan.png" for row in starter.form if row["kind"] == "image"}
    filled = form.fill(starter.payload, starter.form, small | pictures)
    around = Surroundings(own_definitions(), any_model=True, uploads={"scan.png": upload})
    prompt_id = talk.submit(ComfyUI().check(filled, around).payload)
    talk.finish()
    history = talk.history(prompt_id)
    assert history["status"]["status_str"] == "success", history["status"]
    (shown,) = history["outputs"]["save"]["images"]
    assert talk.http.get("/view", params=shown).status_code == 200
