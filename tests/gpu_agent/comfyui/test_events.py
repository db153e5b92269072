"""The message stream of one prompt turned into phase, percent and times."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_agent.comfyui.events import BadFrame, NodeText, Preview, Tracker, parse_frame
from gpu_agent.protocol.messages import NodeWork
from gpu_agent.protocol.phases import Phase

WORK = {
    "load": NodeWork("Load", 2.0, loader=True),
    "sample": NodeWork("Sample", 6.0, sampler=True),
    "decode": NodeWork("Decode", 2.0),
}


def tracker(speed: float = 1.0, expected_ms: int = 8_000) -> Tracker:
    return Tracker("p", WORK, speed, expected_ms)


def play(tracked: Tracker, *events: tuple[float, str, dict[str, Any]]) -> Tracker:
    for at_ms, kind, data in events:
        tracked.feed(kind, {"prompt_id": "p", **data}, at_ms)
    return tracked


def executing(at_ms: float, node: str | None) -> tuple[float, str, dict[str, Any]]:
    return at_ms, "executing", {"node": node}


def ticks(first_ms: float, step_ms: float, steps: int) -> list[tuple[float, str, dict[str, Any]]]:
    return [
        (first_ms + step_ms * step, "progress", {"node": "sample", "value": step + 1, "max": steps})
        for step in range(steps)
    ]


def test_loading_is_loader_time_and_what_the_first_tick_took_longer() -> None:
    run = play(
        tracker(),
        (0, "execution_start", {}),
        executing(100, "load"),
        executing(1_100, "sample"),
        *ticks(3_100, 500, 4),  # entered at 1,100, first tick after 2,000: 1,500 more than a step
        executing(4_700, "decode"),
        (5_000, "execution_success", {}),
        executing(5_100, None),
    )
    figures = run.figures(9_000)
    assert (figures.executing_ms, figures.loading_ms) == (5_000, 1_000 + 1_500)
    assert figures.charged_ms == 2_500


def test_charged_time_is_that_of_the_reference_gpu() -> None:
    run = play(tracker(speed=0.5), (0, "execution_start", {}), executing(0, "decode"), executing(4_000, None))
    assert run.figures(4_000).charged_ms == 2_000


def test_loading_is_never_negative_when_the_first_tick_came_fast() -> None:
    run = play(tracker(), (0, "execution_start", {}), executing(0, "sample"), *ticks(10, 500, 4))
    assert run.figures(1_600).loading_ms == 0


@pytest.mark.parametrize(("actual_ms", "charged_ms"), [(4_000, 4_000), (9_000, 6_000)])
def test_a_sampler_that_never_ticks_is_charged_at_most_as_quoted(actual_ms: int, charged_ms: int) -> None:
    run = play(tracker(), (0, "execution_start", {}), executing(0, "sample"), executing(actual_ms, None))
    assert run.figures(actual_ms).charged_ms == charged_ms


def test_with_a_gap_the_whole_is_charged_at_most_as_quoted() -> None:
    run = play(tracker(expected_ms=3_000), (0, "execution_start", {}), executing(0, "decode"))
    run.miss()
    play(run, executing(10_000, None))
    assert run.figures(10_000).charged_ms == 3_000


def test_a_socket_lost_before_the_start_leaves_no_gap_when_the_start_is_heard() -> None:
    run = tracker(expected_ms=3_000)
    run.miss()
    play(run, (0, "execution_start", {}), executing(0, "decode"), executing(10_000, None))
    assert run.figures(10_000).charged_ms == 10_000


def test_a_start_that_was_not_heard_is_a_gap() -> None:
    run = tracker(expected_ms=3_000)
    run.miss()
    play(run, executing(0, "decode"), executing(10_000, None))
    assert run.figures(10_000).charged_ms == 3_000


def test_times_from_history_alone_are_charged_at_most_as_quoted() -> None:
    assert tracker(expected_ms=3_000).figures_of(5_000, 0).charged_ms == 3_000
    assert tracker(expected_ms=3_000).figures_of(1_000, 0).charged_ms == 1_000


def test_phases_go_from_waiting_over_loading_to_running() -> None:
    run = tracker()
    seen = [run.phase]
    for event in ((0, "execution_start", {}), executing(1, "load"), executing(2, "sample"), *ticks(3, 1, 2)):
        play(run, event)
        seen.append(run.phase)
    assert seen == [Phase.WAITING, *[Phase.LOADING] * 3, *[Phase.RUNNING] * 2]


def test_percent_follows_the_quotes_weights_and_is_full_only_at_the_end() -> None:
    run = play(tracker(), (0, "execution_start", {}), executing(0, "load"), executing(10, "sample"))
    assert run.percent(10) == 20.0
    play(run, *ticks(20, 10, 4)[:2])
    assert run.percent(40) == 50.0
    play(run, executing(50, "decode"), executing(60, None))
    assert run.percent(60) == 100.0


def test_cached_nodes_weigh_nothing() -> None:
    run = play(tracker(), (0, "execution_start", {}), (0, "execution_cached", {"nodes": ["load", "sample"]}))
    play(run, executing(0, "decode"))
    assert run.percent(1_000) == 50.0
    assert run.stage == (1, 1)


def test_stage_and_step_of_the_running_node() -> None:
    run = play(tracker(), (0, "execution_start", {}), executing(0, "load"), executing(5, "sample"))
    play(run, *ticks(10, 10, 20)[:7])
    assert run.stage == (2, 3)
    assert run.step == (7, 20)


def test_remaining_time_follows_the_pace_seen() -> None:
    run = play(tracker(), (0, "execution_start", {}), executing(0, "load"), executing(0, "sample"))
    play(run, *ticks(100, 100, 20)[:10])
    assert run.figures(1_000).remaining_ms == 10 * 100 + 2_000


def test_expanded_nodes_count_as_the_node_they_came_from() -> None:
    run = play(tracker(), (0, "execution_start", {}))
    run.feed("executing", {"node": "sample.0.3", "display_node": "sample"}, 5)
    assert run.node == "sample"


def test_the_first_word_after_a_reconnect_marks_a_gap() -> None:
    run = play(tracker(), executing(5, "sample"))
    assert run.gap
    assert run.started_ms == 5


@pytest.mark.parametrize(
    "lie",
    [
        {"value": 250, "max": 100},
        {"value": -1, "max": 4},
        {"value": "x", "max": 4},
        {"value": 1, "max": None},
        {"value": 1, "max": float("inf")},
        {"value": float("nan"), "max": 2},
    ],
)
def test_a_lying_progress_is_ignored(lie: dict[str, Any]) -> None:
    run = play(tracker(), (0, "execution_start", {}), executing(0, "sample"))
    run.feed("progress", {"node": "sample", **lie}, 5)
    assert run.step is None
    assert 0 <= run.percent(6) <= 99


EVENTS = st.tuples(
    st.sampled_from(["executing", "progress", "progress_state", "execution_cached", "execution_error", "x"]),
    st.dictionaries(
        st.sampled_from(["node", "value", "max", "nodes", "display_node", "exception_type"]),
        st.one_of(st.none(), st.integers(), st.floats(), st.sampled_from([*WORK, "?"]), st.lists(st.text())),
    ),
)


@given(st.lists(EVENTS, max_size=30))
def test_whatever_comes_percent_never_falls_and_times_add_up(
    events: list[tuple[str, dict[str, Any]]],
) -> None:
    run, shown = play(tracker(), (0, "execution_start", {})), [0.0]
    for number, (kind, data) in enumerate(events):
        run.feed(kind, data, float(number * 50))
        shown.append(run.percent(number * 50.0))
        figures = run.figures(number * 50.0)
        assert run.step is None or 0 <= run.step[0] <= run.step[1]
        assert 0 <= figures.loading_ms <= figures.executing_ms
        assert 0 <= figures.charged_ms <= figures.executing_ms
    assert shown == sorted(shown)
    assert max(shown) <= 100


def test_binary_frames_of_all_kinds_are_read() -> None:
    about = b'{"node_id":"3","prompt_id":"p","image_type":"image/png"}'
    assert parse_frame(struct.pack(">II", 1, 1) + b"jpeg") == Preview("image/jpeg", b"jpeg")
    assert parse_frame(struct.pack(">II", 3, 2) + b"12text") == NodeText("12", "text")
    frame = struct.pack(">II", 4, len(about)) + about + b"png"
    assert parse_frame(frame) == Preview("image/png", b"png", "p", "3")
    assert parse_frame(struct.pack(">I", 99)) is None


@pytest.mark.parametrize(
    "frame", [b"", b"\0\0\0\1", struct.pack(">II", 4, 9), struct.pack(">II", 4, 2) + b"[]"]
)
def test_a_broken_frame_is_named_as_such(frame: bytes) -> None:
    with pytest.raises(BadFrame):
        parse_frame(frame)
