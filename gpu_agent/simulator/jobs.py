"""/api/jobs: the queue and the history as one list."""

from typing import Any

from gpu_agent.simulator.queue import Entry, PromptQueue

STATUSES = ("pending", "in_progress", "completed", "failed", "cancelled")
_NOT_PREVIEWS = ("animated", "text", "latents")
_PREVIEW_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".gif", ".mp4", ".webm", ".mkv", ".mov"),
    *(".flac", ".mp3", ".wav", ".opus", ".ogg", ".glb", ".gltf", ".obj"),
)


class BadQuery(ValueError):
    """A filter of the list is not understood."""


def job_list(queue: PromptQueue, query: dict[str, str]) -> dict[str, Any]:
    """GET /api/jobs. Raises `BadQuery`."""
    wanted = [status for status in query.get("status", "").split(",") if status]
    unknown = [status for status in wanted if status not in STATUSES]
    if unknown:
        raise BadQuery(f"Invalid status value(s): {', '.join(unknown)}. Valid values: {', '.join(STATUSES)}")
    jobs = [job for job in _all(queue) if not wanted or job["status"] in wanted]
    jobs.sort(key=lambda job: job["create_time"] or 0, reverse=query.get("sort_order", "desc") != "asc")
    offset, limit = int(query.get("offset", 0)), int(query["limit"]) if "limit" in query else None
    page = jobs[offset:] if limit is None else jobs[offset : offset + limit]
    pagination = {
        "offset": offset,
        "limit": limit,
        "total": len(jobs),
        "has_more": offset + len(page) < len(jobs),
    }
    return {"jobs": page, "pagination": pagination}


def one_job(queue: PromptQueue, prompt_id: str) -> dict[str, Any] | None:
    """GET /api/jobs/{id}; None when nothing is known of it."""
    running, waiting = queue.snapshot()
    for status, entries in (("in_progress", running), ("pending", waiting)):
        for entry in entries:
            if entry.prompt_id == prompt_id:
                return _unfinished(entry, status)
    history = queue.history(prompt_id)
    if prompt_id not in history:
        return None
    found = history[prompt_id]
    _, _, prompt, extra_data, _ = found["prompt"]
    return {
        **_finished(prompt_id, found),
        "outputs": found["outputs"],
        "execution_status": found["status"],
        "workflow": {"prompt": prompt, "extra_data": extra_data},
    }


def _all(queue: PromptQueue) -> list[dict[str, Any]]:
    running, waiting = queue.snapshot()
    jobs = [_unfinished(entry, "pending") for entry in waiting]
    jobs += [_unfinished(entry, "in_progress") for entry in running]
    jobs += [_finished(prompt_id, found) for prompt_id, found in queue.history().items()]
    return jobs


def _head(number: float, prompt_id: str, extra_data: dict[str, Any], status: str) -> dict[str, Any]:
    job = {
        "id": prompt_id,
        "status": status,
        "priority": number,
        "create_time": extra_data.get("create_time"),
        "outputs_count": 0,
        "previewable_outputs_count": 0,
    }
    workflow = (extra_data.get("extra_pnginfo") or {}).get("workflow") or {}
    if workflow.get("id"):
        job["workflow_id"] = workflow["id"]
    return job


def _unfinished(entry: Entry, status: str) -> dict[str, Any]:
    return _head(entry.number, entry.prompt_id, entry.extra_data, status)


def _finished(prompt_id: str, found: dict[str, Any]) -> dict[str, Any]:
    messages = dict(found["status"]["messages"])
    if "execution_interrupted" in messages:
        status = "cancelled"
    else:
        status = "completed" if found["status"]["status_str"] == "success" else "failed"
    number, _, _, extra_data, _ = found["prompt"]
    job = _head(number, prompt_id, extra_data, status)
    ends = ("execution_success", "execution_error", "execution_interrupted")
    job["execution_start_time"] = messages.get("execution_start", {}).get("timestamp")
    job["execution_end_time"] = next((messages[end]["timestamp"] for end in ends if end in messages), None)
    if "execution_error" in messages:
        job["execution_error"] = messages["execution_error"]
    count, previews = _outputs(found["outputs"])
    job["outputs_count"], job["previewable_outputs_count"] = count, len(previews)
    if previews:
        # What was saved is shown before what was only previewed.
        job["preview_output"] = next((one for one in previews if one["type"] == "output"), previews[0])
    return job


def _outputs(outputs: dict[str, Any]) -> tuple[int, list[dict[str, Any]]]:
    """How many things came out, and those a browser could show."""
    count, previews = 0, []
    for node_id, ui in outputs.items():
        for kind, items in ui.items():
            for item in items if isinstance(items, list) else []:
                if kind == "animated":
                    continue
                count += 1
                if not isinstance(item, dict) or kind in _NOT_PREVIEWS:
                    continue
                if str(item.get("filename", "")).lower().endswith(_PREVIEW_SUFFIXES):
                    previews.append({**item, "nodeId": node_id, "mediaType": kind})
    return count, previews
