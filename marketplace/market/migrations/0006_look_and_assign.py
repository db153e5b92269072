"""The dispatcher's look at an agent and its line, and its assigning with a lease: planned once a connection."""

from django.db import migrations

# The agent's row of `place` is in variables. Conditions on a job are one CASE: the planner would take so many
# for so rare that it sorted the whole line instead of reading its head from the index.
OPEN = """
        CASE WHEN j.vram_bytes <= v_total AND v_job_types ? j.job_type AND j.pinned_agent_id IN ('', p_agent)
          AND coalesce((j.refused_agents ->> p_agent)::bigint + p_margin, 0) <= v_free
          AND (j.template_id IS NULL
               OR j.template_id NOT IN (SELECT id FROM jobs_template WHERE paused_reason <> ''))
        THEN true ELSE false END
"""

LOOK = f"""
CREATE FUNCTION market_look(
  p_agent text, p_epoch bigint, p_sizes smallint[], p_below bigint[], p_margin bigint, p_affinity bigint,
  p_heads integer, p_best integer,
  OUT leads boolean, OUT timeline integer, OUT place json, OUT hands json, OUT heads json,
  OUT token bigint
) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  v_workshop bigint;
  v_total bigint;
  v_free bigint;
  v_job_types jsonb;
  v_resident jsonb;
BEGIN
  leads := p_epoch IS NULL OR EXISTS (
    SELECT FROM market_leadership WHERE epoch = p_epoch AND expires_at > market_now());
  IF NOT leads THEN
    RETURN;
  END IF;

  SELECT a.workshop_id, d.vram_total_bytes, d.vram_free_bytes, i.job_types, a.resident_models,
         json_build_array(a.id, a.name, a.workshop_id, a.simulated, a.speed_factor, a.resident_models,
                          d.vram_total_bytes, d.vram_free_bytes, i.job_types, i.any_model,
                          i.node_definitions_id, i.published_at),
         (SELECT n.timeline FROM fleet_installation n)
  INTO v_workshop, v_total, v_free, v_job_types, v_resident, place, timeline
  FROM fleet_agent a JOIN fleet_device d ON d.agent_id = a.id JOIN fleet_inventory i ON i.agent_id = a.id
  WHERE a.id = p_agent;
  IF place IS NULL THEN
    RETURN;
  END IF;

  hands := (
    SELECT json_agg(json_build_array(
             j.status, t.acknowledged_at IS NOT NULL,
             t.remaining_ms - 1000 * extract(epoch FROM market_now() - t.seen_at),
             j.gpu_seconds, j.loading_seconds,
             1000 * extract(epoch FROM market_now() - coalesce(t.execution_started_at, market_now()))))
    FROM market_lease l JOIN jobs_attempt t ON t.id = l.attempt_id JOIN jobs_job j ON j.id = t.job_id
    WHERE l.agent_id = p_agent AND l.ended_at IS NULL);
  IF json_array_length(hands) > 1 THEN
    RETURN;
  END IF;

  heads := (
    WITH line AS (
      SELECT h.*, w.policy FROM accounts_workshop w
      CROSS JOIN unnest(p_sizes, p_below) AS c (vram_class, below)
      CROSS JOIN LATERAL (
        SELECT j.id, j.student_id, j.workshop_id, j.model_key, j.queue_class, j.queue_key_ms, j.bid, j.unpaid
        FROM jobs_job j
        WHERE j.status = 'queued' AND j.workshop_id = w.id AND j.vram_class = c.vram_class AND {OPEN}
        ORDER BY j.queue_class, j.queue_key_ms, j.id LIMIT p_heads) h
      WHERE c.below < v_total AND w.paused_reason = '' AND (v_workshop IS NULL OR w.id = v_workshop)
      UNION
      SELECT h.*, w.policy FROM accounts_workshop w
      CROSS JOIN LATERAL jsonb_array_elements_text(v_resident) AS m (model_key)
      CROSS JOIN LATERAL (
        SELECT j.id, j.student_id, j.workshop_id, j.model_key, j.queue_class, j.queue_key_ms, j.bid, j.unpaid
        FROM jobs_job j
        WHERE j.status = 'queued' AND j.workshop_id = w.id AND j.model_key = m.model_key
          AND m.model_key <> '' AND {OPEN}
        ORDER BY j.queue_class, j.queue_key_ms, j.id LIMIT p_heads) h
      WHERE w.paused_reason = '' AND (v_workshop IS NULL OR w.id = v_workshop)
    ), best AS (
      SELECT * FROM line
      ORDER BY queue_class, queue_key_ms - CASE
        WHEN model_key <> '' AND v_resident ? model_key THEN p_affinity ELSE 0 END, id
      LIMIT p_best
    )
    SELECT json_agg(json_build_array(
             b.id, b.student_id, b.model_key, b.queue_class, b.queue_key_ms, coalesce(q.model_files, '[]'),
             coalesce(q.node_types, '[]'), b.workshop_id, b.bid, b.unpaid, b.policy))
    FROM best b
    LEFT JOIN market_order o ON o.job_id = b.id LEFT JOIN market_quote q ON q.id = o.quote_id);
  IF heads IS NOT NULL THEN
    token := nextval('market_lease_token');
  END IF;
END
$$
"""

ASSIGN = """
CREATE FUNCTION market_assign(
  p_ids uuid[], p_multipliers float8[], p_reasons text[], p_sources text[],
  p_agent_id text, p_agent_name text, p_token bigint, p_simulated boolean, p_data jsonb,
  p_lease interval, p_in_hand integer, p_epoch bigint,
  OUT job_id uuid, OUT student_id bigint, OUT workshop_id bigint, OUT seq integer, OUT attempt_count smallint,
  OUT attempt_id bigint
) RETURNS SETOF record LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
  IF p_epoch IS NOT NULL AND NOT EXISTS (
    SELECT FROM market_leadership WHERE epoch = p_epoch AND expires_at > market_now()
  ) OR NOT pg_try_advisory_xact_lock(hashtextextended('assign:' || p_agent_id, 0)) THEN
    RETURN;
  END IF;
  -- Nobody gives this agent a job now, and this statement sees all that was given before.
  IF (SELECT count(*) FROM market_lease l WHERE l.agent_id = p_agent_id AND l.ended_at IS NULL) <> p_in_hand
  THEN
    RETURN;
  END IF;
  SELECT * INTO job_id, student_id, workshop_id, seq, attempt_count, attempt_id
  FROM jobs_assign(p_ids, p_multipliers, p_reasons, p_sources, p_agent_id, p_agent_name, p_token, p_simulated,
                   p_data);
  IF attempt_id IS NULL THEN
    RETURN;
  END IF;
  INSERT INTO market_lease (attempt_id, agent_id, token, expires_at, command, command_reason)
  VALUES (market_assign.attempt_id, p_agent_id, p_token, market_now() + p_lease, '', '');
  RETURN NEXT;
END
$$
"""


class Migration(migrations.Migration):
    dependencies = [
        ("market", "0005_forecast_waits"),
        ("jobs", "0004_assign"),
        ("accounts", "0005_credits_in_flight"),
        ("fleet", "0002_model_manifest"),
    ]

    operations = [
        migrations.RunSQL(LOOK, "DROP FUNCTION market_look"),
        migrations.RunSQL(ASSIGN, "DROP FUNCTION market_assign"),
    ]
