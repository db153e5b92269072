"""Settings of a GPU host: typed, and loud when wrong."""

from pathlib import Path

import pytest

from gpu_agent.config import BadConfiguration, Config, load

GOOD = {
    "SITE_URL": "https://darkroom.example",
    "AGENT_TOKEN": "secret",
    "COMFYUI_URL": "http://127.0.0.1:8188",
}


def read(*argv: str, **environ: str) -> Config:
    return load(argv, {**GOOD, **environ})


def test_defaults_are_a_real_gpu_seen_through_nvml() -> None:
    config = read()
    assert (config.gpu, config.vram_probe, config.simulated, config.speed_factor) == ("0", "nvml", False, 1.0)
    assert config.vram_margin_bytes == 512 * 1024 * 1024


def test_a_simulator_brings_its_speed_and_its_own_figures() -> None:
    config = read(COMFYUI_SIMULATED="1", SIMULATOR_SPEED="20")
    assert (config.simulated, config.speed_factor, config.vram_probe) == (True, 20.0, "comfyui")


def test_options_win_over_the_environment(tmp_path: Path) -> None:
    config = read("--site", "http://localhost:1", "--gpu", "simulated", "--data-dir", str(tmp_path))
    assert (config.site_url, config.simulated, config.data_dir) == ("http://localhost:1", True, tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SITE_URL", ""), ("SITE_URL", "ftp://x"), ("AGENT_TOKEN", " "), ("COMFYUI_URL", "nonsense"),
        ("VRAM_PROBE", "guess"), ("VRAM_MARGIN_MB", "much"), ("VRAM_MARGIN_MB", "-1"), ("SPEED_FACTOR", "0"),
        ("SPEED_FACTOR", "nan"), ("COMFYUI_SIMULATED", "maybe"), ("LOG_FORMAT", "xml"), ("LOG_LEVEL", "LOUD"),
        ("COMFYUI_DIR", "/does/not/exist"), ("HANG_SECONDS", "0"), ("DISK_FLOOR_MB", "inf"),
    ],
)  # fmt: skip
def test_a_bad_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(BadConfiguration, match=name):
        read(**{name: value})


def test_nvml_for_a_simulated_gpu_is_refused() -> None:
    with pytest.raises(BadConfiguration, match="VRAM_PROBE"):
        read(COMFYUI_SIMULATED="1", VRAM_PROBE="nvml")


def test_the_token_is_not_in_the_settings_text() -> None:
    assert "secret" not in repr(read())


@pytest.mark.parametrize(
    ("url", "loopback"),
    [("http://127.0.0.1:8188", True), ("http://[::1]:8188", True), ("http://192.168.1.2:8188", False)],
)
def test_loopback_is_known(url: str, loopback: bool) -> None:
    assert read(COMFYUI_URL=url).comfyui_on_loopback is loopback
