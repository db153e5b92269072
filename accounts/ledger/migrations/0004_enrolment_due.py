"""A student's place starts the allowance: from when, and that the account is due."""

from django.db import migrations

FORWARD = """
CREATE FUNCTION ledger_became_student() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.joined_at := market_now();
    RETURN NEW;
END $$;
CREATE TRIGGER ledger_became_student BEFORE UPDATE OF role ON accounts_enrolment
    FOR EACH ROW WHEN (NEW.role = 'student' AND OLD.role <> 'student') EXECUTE FUNCTION ledger_became_student();

CREATE FUNCTION ledger_enrolment_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE ledger_account SET due_at = least(due_at, market_now())
     WHERE workshop_id = NEW.workshop_id AND user_id = NEW.user_id AND kind = 'member';
    RETURN NULL;
END $$;
CREATE TRIGGER ledger_enrolment_changed AFTER INSERT OR UPDATE OF role ON accounts_enrolment
    FOR EACH ROW EXECUTE FUNCTION ledger_enrolment_changed();
"""
BACKWARD = """
DROP TRIGGER ledger_enrolment_changed ON accounts_enrolment;
DROP TRIGGER ledger_became_student ON accounts_enrolment;
DROP FUNCTION ledger_enrolment_changed();
DROP FUNCTION ledger_became_student();
"""


class Migration(migrations.Migration):
    dependencies = [("ledger", "0003_allowance_triggers"), ("accounts", "0003_allowance_rules")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
