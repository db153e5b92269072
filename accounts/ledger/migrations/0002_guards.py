"""The database refuses bad money: append-only rows, entries that sum to zero, no TRUNCATE."""

from django.db import migrations

APPEND_ONLY = ("ledger_transaction", "ledger_entry", "ledger_hold", "ledger_allowance_term")

ZERO_SUM = """
CREATE FUNCTION ledger_zero_sum() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM fresh GROUP BY transaction_id HAVING sum(amount) <> 0) THEN
        RAISE EXCEPTION 'entries of a transaction do not sum to zero' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
-- Per statement: needs no index and fails on the faulty line, so all entries of a transaction go in one INSERT.
CREATE TRIGGER zero_sum AFTER INSERT ON ledger_entry REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_zero_sum();
"""

# UPDATE stays granted on rows that foreign keys point at (their checks lock rows, which needs it); the trigger
# refuses it all the same. A superuser passes privileges by, never triggers.
FREEZE = """
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
REVOKE {rights} ON {table} FROM CURRENT_USER;
"""
THAW = """
GRANT {rights} ON {table} TO CURRENT_USER;
DROP TRIGGER no_truncate ON {table};
DROP TRIGGER append_only ON {table};
"""

# Ids below 1,000 are the house's own; HOT updates of the balance columns want room on the page.
ACCOUNTS = """
ALTER TABLE ledger_account ALTER COLUMN id SET START WITH 1000 RESTART;
ALTER TABLE ledger_account SET (fillfactor = 50);
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON ledger_account FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER no_delete BEFORE DELETE ON ledger_account FOR EACH ROW EXECUTE FUNCTION refuse_change();
"""


def _rights(table: str) -> str:
    return "DELETE, TRUNCATE" if table in ("ledger_transaction", "ledger_hold") else "UPDATE, DELETE, TRUNCATE"


class Migration(migrations.Migration):
    dependencies = [("ledger", "0001_ledger"), ("accounts", "0002_audit_append_only")]
    operations = [
        migrations.RunSQL(ZERO_SUM, "DROP TRIGGER zero_sum ON ledger_entry; DROP FUNCTION ledger_zero_sum();"),
        migrations.RunSQL(
            ACCOUNTS, "DROP TRIGGER no_delete ON ledger_account; DROP TRIGGER no_truncate ON ledger_account;"
        ),
        *(
            migrations.RunSQL(
                FREEZE.format(table=table, rights=_rights(table)), THAW.format(table=table, rights=_rights(table))
            )
            for table in APPEND_ONLY
        ),
    ]
