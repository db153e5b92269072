"""Assigning the first free of some jobs, as a function: its statements are planned once a connection."""

from django.db import migrations

ASSIGN = """
CREATE FUNCTION jobs_assign(
  p_ids uuid[], p_multipliers float8[], p_reasons text[], p_sources text[],
  p_agent_id text, p_agent_name text, p_token bigint, p_simulated boolean, p_data jsonb,
  OUT job_id uuid, OUT student_id bigint, OUT workshop_id bigint, OUT seq integer, OUT attempt_count smallint,
  OUT attempt_id bigint
) RETURNS SETOF record LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  chosen integer;
BEGIN
  -- In order: what another picker has locked, or has taken since it was read, is passed over.
  PERFORM FROM jobs_job WHERE id = p_ids[1] AND status = ANY(p_sources) FOR NO KEY UPDATE SKIP LOCKED;
  IF FOUND THEN
    chosen := 1;
  ELSE
    SELECT c.n INTO chosen FROM unnest(p_ids) WITH ORDINALITY AS c (id, n) JOIN jobs_job j ON j.id = c.id
    WHERE j.status = ANY(p_sources) ORDER BY c.n LIMIT 1 FOR NO KEY UPDATE OF j SKIP LOCKED;
  END IF;
  IF chosen IS NULL THEN
    RETURN;
  END IF;
  UPDATE jobs_job SET status = 'assigned', event_seq = event_seq + 1, attempt_count = attempt_count + 1,
    agent_name = p_agent_name, wait_reason = '', clearing_multiplier = p_multipliers[chosen],
    clearing_reason = p_reasons[chosen]
  WHERE id = p_ids[chosen]
  RETURNING jobs_job.id, jobs_job.student_id, jobs_job.workshop_id, jobs_job.event_seq, jobs_job.attempt_count
  INTO job_id, student_id, workshop_id, seq, attempt_count;
  INSERT INTO jobs_jobevent (job_id, seq, kind, data, at)
  VALUES (jobs_assign.job_id, jobs_assign.seq, 'assigned', p_data, market_now());
  INSERT INTO jobs_attempt (job_id, number, agent_id, agent_name, token, prompt_id, phase, outcome, cause,
    message, report_seq, deliveries, delivered_at, executing_ms, loading_ms, charged_ms, simulated)
  VALUES (jobs_assign.job_id, jobs_assign.attempt_count, p_agent_id, p_agent_name, p_token,
    gen_random_uuid(), '', '', '', '', 0, 1, market_now(), 0, 0, 0, p_simulated)
  RETURNING id INTO attempt_id;
  RETURN NEXT;
END
$$
"""


class Migration(migrations.Migration):
    dependencies = [("jobs", "0003_templates_and_bids")]

    operations = [migrations.RunSQL(ASSIGN, "DROP FUNCTION jobs_assign")]
