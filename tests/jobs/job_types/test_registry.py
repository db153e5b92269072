"""Job types register by dotted name, as strangers do."""

import pytest

from jobs.job_types import registry

OURS = "jobs.job_types.comfyui.job_type.ComfyUI"


def test_a_registered_job_type_is_found_by_its_name() -> None:
    registry.register([OURS, OURS])
    assert registry.get("comfyui").name == "comfyui"
    assert "comfyui" in registry.names()


def test_an_unknown_name_is_answered_with_the_names_there_are() -> None:
    registry.register([OURS])
    with pytest.raises(registry.UnknownJobType, match="comfyui"):
        registry.get("blender")


@pytest.mark.parametrize(
    "dotted", ["nowhere.Type", "jobs.job_types.registry.Nothing", "Bare", "builtins.dict"]
)
def test_a_dotted_name_that_is_no_job_type_stops_the_start(dotted: str) -> None:
    with pytest.raises(registry.BadJobType, match="job type"):
        registry.register([dotted])
