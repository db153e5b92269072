"""The phases an agent reports for one attempt, in the order they can happen.

They are the agent's view; the site maps each onto a job status (`jobs.lifecycle`).
"""

from enum import StrEnum


class Phase(StrEnum):
    """Where an attempt stands on the GPU host."""

    TAKEN = "taken"  # delivery acknowledged, spec not fetched yet
    PREPARING = "preparing"  # spec and inputs fetched, VRAM being checked
    WAITING = "waiting"  # stands in ComfyUI's own queue behind another attempt
    LOADING = "loading"  # ComfyUI started it: model nodes run, no sampler has ticked
    RUNNING = "running"  # first tick seen, or a node that computes is executing
    STORING = "storing"  # ComfyUI is done: outputs are collected, hashed, uploaded
    FINISHED = "finished"  # a Finish report was made


class Outcome(StrEnum):
    """How an attempt ended, as the agent saw it."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"  # the site asked for it (cancel, preempt)
    HANDED_BACK = "handed_back"  # does not fit now, drain, eviction: back to the queue, no fault of the job


class Cause(StrEnum):
    """Why a job failed: the closed set of architecture.md (States)."""

    INVALID_WORKFLOW = "invalid_workflow"
    MISSING_MODEL = "missing_model"
    MISSING_NODE = "missing_node"
    OUT_OF_MEMORY = "out_of_memory"
    EXECUTION_ERROR = "execution_error"
    TIMED_OUT = "timed_out"
    INFRASTRUCTURE = "infrastructure"
    OVER_BUDGET = "over_budget"
