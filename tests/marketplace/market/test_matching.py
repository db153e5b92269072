"""Which job fits which agent, and when an agent has room. Pure."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from marketplace.market import clearing, matching
from marketplace.market.matching import GIB, Abilities, Candidate, InHand
from marketplace.market.policies.base import BIDS
from marketplace.market.policies.market import head_start_ms


def candidate(number: int, key_ms: int, **rest: object) -> Candidate:
    values = {"student_id": number, "model_key": "", "queue_class": 1, **rest}
    return Candidate(job_id=number, queue_key_ms=key_ms, **values)  # type: ignore[arg-type]


@given(st.integers(0, 2000 * GIB))
def test_a_job_is_found_among_the_classes_of_every_device_that_holds_it(vram_bytes: int) -> None:
    size = matching.vram_class(vram_bytes)
    for total in (vram_bytes, vram_bytes + 1, vram_bytes + GIB):
        assert total == 0 or size in matching.classes_within(total)


def test_a_card_that_reports_a_little_less_than_its_name_still_sees_its_class() -> None:
    assert 24 in matching.classes_within(24 * GIB - 500_000_000)
    assert 32 not in matching.classes_within(24 * GIB)


def test_an_idle_agent_has_room() -> None:
    assert matching.has_room([])


def test_an_agent_takes_its_next_job_four_seconds_before_the_end() -> None:
    assert not matching.has_room([InHand("running", taken=True, remaining_ms=4001)])
    assert matching.has_room([InHand("running", taken=True, remaining_ms=4000)])
    assert matching.has_room([InHand("storing", taken=True, remaining_ms=60_000)])


def test_nothing_follows_a_job_the_agent_has_not_taken() -> None:
    assert not matching.has_room([InHand("assigned", taken=False, remaining_ms=100)])


def test_the_gpu_has_one_job_and_the_next_at_most() -> None:
    assert not matching.has_room([InHand("running", True, 0), InHand("assigned", True, 0)])


def test_outputs_being_stored_keep_no_gpu_waiting_until_they_pile_up() -> None:
    storing, ending = InHand("storing", True, 0), InHand("running", True, 0)
    assert matching.has_room([storing, ending])
    assert matching.has_room([storing, storing, ending])
    assert not matching.has_room([storing, storing, storing, ending])


def test_the_missing_node_or_model_is_named() -> None:
    agent = Abilities(24 * GIB, node_types={"Sampler"}, model_files={"vae": ["a.safetensors"]})
    assert matching.lacks(candidate(1, 0, node_types=["Sampler"]), agent) == ""
    assert matching.lacks(candidate(1, 0, node_types=["Upscaler"]), agent) == "the node Upscaler"
    assert matching.lacks(candidate(1, 0, model_files=[["vae", "a.safetensors"]]), agent) == ""
    assert matching.lacks(candidate(1, 0, model_files=[["loras", "b"]]), agent) == "the model b"


def test_a_simulator_may_pretend_to_have_any_model_but_not_any_node() -> None:
    agent = Abilities(24 * GIB, node_types={"Sampler"}, any_model=True)
    assert matching.lacks(candidate(1, 0, model_files=[["loras", "b"]]), agent) == ""
    assert matching.lacks(candidate(1, 0, node_types=["Upscaler"]), agent)


def test_a_resident_model_is_worth_two_minutes_of_the_line() -> None:
    agent = Abilities(24 * GIB, resident_models=["sdxl"])
    early, just, late = candidate(1, 0), candidate(2, 119_999, model_key="sdxl"), candidate(3, 1)
    assert [job.job_id for job in matching.ranked([early, just, late], agent)] == [2, 1, 3]
    too_late = candidate(4, 120_001, model_key="sdxl")
    assert [job.job_id for job in matching.ranked([early, too_late], agent)] == [1, 4]


def test_a_demo_comes_before_everything() -> None:
    agent = Abilities(24 * GIB, resident_models=["sdxl"])
    demo, student = candidate(1, 10**9, queue_class=0), candidate(2, 0, model_key="sdxl")
    assert matching.ranked([student, demo], agent)[0] is demo


def test_ones_own_next_job_never_is_ones_runner_up() -> None:
    first, mine, other = candidate(1, 0), candidate(2, 1, student_id=1), candidate(3, 2)
    assert matching.runner_up([first, mine, other], first) is other
    assert matching.runner_up([first, mine], first) is None


HOUR_MS = 3_600_000
AGENT = Abilities(24 * GIB, any_model=True, resident_models=["sdxl"])
MODELS = st.sampled_from(["", "sdxl", "flux"])
RIVALS = st.lists(st.tuples(st.integers(1, 4), st.integers(0, HOUR_MS), MODELS), max_size=8)
Rivals = list[tuple[int, int, str]]
MINE = 1  # the student whose job is looked at


def line_of(rivals: list[tuple[int, int, str]]) -> list[Candidate]:
    """Waiting jobs of students 1 to 4; those of student 1 are beside the one looked at."""
    return [
        candidate(number, key_ms, student_id=student, model_key=model)
        for number, (student, key_ms, model) in enumerate(rivals, 100)
    ]


def price_if_first(mine: Candidate, others: list[Candidate]) -> float | None:
    """What the job pays if this GPU takes it now; None when it takes another."""
    ordered = matching.ranked([mine, *others], AGENT)
    if ordered[0] is not mine:
        return None
    return clearing.choice(ordered, mine, AGENT.resident_models, {0: "market"}).multiplier


@given(st.integers(0, HOUR_MS), MODELS, RIVALS)
def test_the_price_is_the_same_at_every_bid_that_wins(base_ms: int, model: str, rivals: Rivals) -> None:
    others = line_of([rival for rival in rivals if rival[0] != MINE])
    mine = candidate(1, base_ms, student_id=MINE, model_key=model)
    bids = [replace(mine, bid=bid, queue_key_ms=base_ms - head_start_ms(bid)) for bid in BIDS]
    prices = [(bid.bid, price_if_first(bid, others)) for bid in bids]
    won = [(bid, price) for bid, price in prices if price is not None]
    assert len({price for _bid, price in won}) <= 1
    assert all(1 <= price <= bid for bid, price in won)
    # Whoever wins with a bid wins with every higher one.
    assert [price is not None for _bid, price in prices] == sorted(p is not None for _b, p in prices)


@given(st.integers(0, HOUR_MS), MODELS, RIVALS)
def test_ones_own_jobs_never_change_ones_price(base_ms: int, model: str, rivals: Rivals) -> None:
    line = line_of(rivals)
    others = [job for job in line if job.student_id != MINE]
    mine = candidate(1, base_ms - head_start_ms(4), student_id=MINE, model_key=model, bid=4)
    with_own = price_if_first(mine, line)
    assert with_own is None or with_own == price_if_first(mine, others)


@given(RIVALS.filter(bool), MODELS, MODELS, st.integers(0, 10**6))
def test_two_minutes_of_affinity_are_all_that_a_loaded_model_adds_to_the_bound(
    rivals: Rivals,
    model: str,
    other: str,
    later_ms: int,
) -> None:
    first = candidate(1, 0, student_id=1, model_key=model)
    late_ms = matching.AFFINITY_MS + 1 + later_ms
    second = candidate(2, late_ms, student_id=2, model_key=other)
    ordered = matching.ranked([second, *line_of(rivals), first], AGENT)
    assert ordered.index(first) < ordered.index(second)
