"""What the commands can be told, and how they answer nonsense."""

from pathlib import Path

import pytest

from marketplace.quickstart import ports
from marketplace.quickstart.options import Bind, OptionError, Options


def test_without_any_wish_there_is_one_agent_of_24_gib_on_this_machine_only() -> None:
    options = Options.from_environment({})
    assert options.agent_vram_gib == (24,)
    assert (options.web, options.web.is_local) == (Bind("127.0.0.1", 8000), True)
    assert options.site_url == "http://127.0.0.1:8000"
    assert options.data_dir.name == "var"


def test_wishes_are_read(tmp_path: Path) -> None:
    definitions = tmp_path / "nodes.json"
    definitions.touch()
    wishes = {"AGENTS": "8, 24,80", "WEB_BIND": "0.0.0.0:9000", "SIMULATOR_SPEED": "20"}
    options = Options.from_environment({**wishes, "NODE_DEFINITIONS": str(definitions)})
    assert options.agent_vram_gib == (8, 24, 80)
    assert (options.web.url, options.web.is_local) == ("http://127.0.0.1:9000", False)
    assert (options.simulator_speed, options.node_definitions) == (20.0, definitions)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AGENTS", "8,,24"), ("AGENTS", "0"), ("AGENTS", "many"), ("WEB_BIND", "8000"),
        ("WEB_BIND", "a:99999"), ("SIMULATOR_SPEED", "fast"), ("SIMULATOR_SPEED", "nan"),
        ("NODE_DEFINITIONS", "/no/such/file"),
    ],
)  # fmt: skip
def test_nonsense_is_refused_by_the_name_of_its_variable(name: str, value: str) -> None:
    with pytest.raises(OptionError, match=name):
        Options.from_environment({name: value})


def test_brackets_around_an_ipv6_address_are_understood() -> None:
    web = Options.from_environment({"WEB_BIND": "[::1]:8000"}).web
    assert (web.host, web.url) == ("::1", "http://[::1]:8000")


def test_the_holder_of_a_port_is_named() -> None:
    port = ports.free_port()
    assert ports.is_free("127.0.0.1", port)
    with ports.socket.create_server(("127.0.0.1", port)):
        assert not ports.is_free("127.0.0.1", port)
        assert ports.holder(port).startswith("process ")
