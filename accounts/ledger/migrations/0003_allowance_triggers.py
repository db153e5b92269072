"""Rules of the allowance leave a history, and whoever changes one makes the workshop's accounts due."""

from django.db import migrations

FORWARD = """
CREATE FUNCTION ledger_mark_due(workshop bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- One lock order, as transfers have.
    PERFORM FROM ledger_account WHERE workshop_id = workshop AND kind = 'member' ORDER BY id FOR NO KEY UPDATE;
    UPDATE ledger_account SET due_at = least(due_at, market_now()) WHERE workshop_id = workshop AND kind = 'member';
END $$;

CREATE FUNCTION ledger_workshop_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' OR (NEW.allowance_milli_per_hour, NEW.allowance_cap_milli)
            IS DISTINCT FROM (OLD.allowance_milli_per_hour, OLD.allowance_cap_milli) THEN
        INSERT INTO ledger_allowance_term (workshop_id, rate, cap, from_at)
        VALUES (NEW.id, NEW.allowance_milli_per_hour, NEW.allowance_cap_milli, market_now());
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.ends_at IS DISTINCT FROM OLD.ends_at THEN
        PERFORM ledger_mark_due(NEW.id);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER ledger_workshop_changed AFTER INSERT OR UPDATE OF allowance_milli_per_hour, allowance_cap_milli, ends_at
    ON accounts_workshop FOR EACH ROW EXECUTE FUNCTION ledger_workshop_changed();

CREATE FUNCTION ledger_session_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN PERFORM ledger_mark_due(OLD.workshop_id); END IF;
    IF TG_OP <> 'DELETE' THEN PERFORM ledger_mark_due(NEW.workshop_id); END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER ledger_session_changed AFTER INSERT OR DELETE OR UPDATE OF workshop_id, opens_at, closes_at
    ON accounts_classsession FOR EACH ROW EXECUTE FUNCTION ledger_session_changed();

INSERT INTO ledger_allowance_term (workshop_id, rate, cap, from_at)
SELECT id, allowance_milli_per_hour, allowance_cap_milli, created_at FROM accounts_workshop;
"""
BACKWARD = """
DROP TRIGGER ledger_session_changed ON accounts_classsession;
DROP TRIGGER ledger_workshop_changed ON accounts_workshop;
DROP FUNCTION ledger_session_changed();
DROP FUNCTION ledger_workshop_changed();
DROP FUNCTION ledger_mark_due(bigint);
"""


class Migration(migrations.Migration):
    dependencies = [("ledger", "0002_guards")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
