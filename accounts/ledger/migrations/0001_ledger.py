import accounts.clock
import datetime
import django.db.models.deletion
import django.db.models.functions.math
import django.db.models.lookups
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('accounts', '0002_audit_append_only'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='AllowanceTerm',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('rate', models.BigIntegerField(help_text='Milli-credits per open hour.')),
                ('cap', models.BigIntegerField(help_text='An hour adds nothing above this much.', null=True)),
                ('from_at', models.DateTimeField(db_default=accounts.clock.MarketNow(), editable=False)),
                ('workshop', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='accounts.workshop')),
            ],
            options={
                'db_table': 'ledger_allowance_term',
                'ordering': ['workshop', 'id'],
            },
        ),
        migrations.CreateModel(
            name='LedgerAccount',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('member', 'Member'), ('pool', 'Pool'), ('purse', 'Purse'), ('house', 'House'), ('issuance', 'Issuance'), ('expired', 'Expired')], max_length=10)),
                ('name', models.CharField(blank=True, help_text="Of a pool: blank is the class's, else a team's.", max_length=60)),
                ('cap', models.BigIntegerField(blank=True, help_text='Most a pool may hold, in milli-credits.', null=True)),
                ('available', models.BigIntegerField(db_default=0)),
                ('held', models.BigIntegerField(db_default=0)),
                ('seq', models.BigIntegerField(db_default=0)),
                ('moved_at', models.DateTimeField(db_default=models.Value(datetime.datetime(1970, 1, 1, 0, 0, tzinfo=datetime.timezone.utc)))),
                ('due_at', models.DateTimeField(db_default=models.Value(datetime.datetime(9999, 12, 31, 0, 0, tzinfo=datetime.timezone.utc)), help_text='Next allowance or expiry to settle.')),
                ('created_at', models.DateTimeField(db_default=accounts.clock.MarketNow(), editable=False)),
                ('user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('workshop', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='accounts.workshop')),
            ],
            options={
                'db_table': 'ledger_account',
                'ordering': ['id'],
            },
        ),
        migrations.CreateModel(
            name='Hold',
            fields=[
                ('key', models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ('amount', models.BigIntegerField()),
                ('subject', models.CharField(help_text='What for: job:…', max_length=120)),
                ('expires_at', models.DateTimeField(blank=True, null=True)),
                ('seq', models.BigIntegerField()),
                ('available', models.BigIntegerField()),
                ('held', models.BigIntegerField()),
                ('created_at', models.DateTimeField(db_default=accounts.clock.MarketNow(), editable=False)),
                ('replaces', models.OneToOneField(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='replaced_by', to='ledger.hold')),
                ('account', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='holds', to='ledger.ledgeraccount')),
            ],
            options={
                'db_table': 'ledger_hold',
                'ordering': ['account', 'seq'],
            },
        ),
        migrations.CreateModel(
            name='LedgerTransaction',
            fields=[
                ('key', models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ('kind', models.CharField(choices=[('grant', 'Granted'), ('allowance', 'Allowance'), ('capture', 'Captured'), ('release', 'Released'), ('refund', 'Refunded'), ('expire', 'Expired'), ('transfer_out', 'Transferred out'), ('transfer_in', 'Transferred in'), ('undo', 'Taken back')], max_length=12)),
                ('amount', models.BigIntegerField()),
                ('subject', models.CharField(blank=True, help_text='What for: job:…, hour:…, batch:…', max_length=120)),
                ('reason', models.CharField(blank=True, max_length=500)),
                ('reference', models.CharField(blank=True, choices=[('purchase', 'Purchase'), ('gift', 'Gift'), ('correction', 'Correction')], max_length=12)),
                ('money_minor', models.BigIntegerField(help_text='What a purchase cost, in cents or the like.', null=True)),
                ('currency', models.CharField(blank=True, max_length=3)),
                ('expires_at', models.DateTimeField(blank=True, help_text='Of the credits granted.', null=True)),
                ('seq', models.BigIntegerField()),
                ('available', models.BigIntegerField()),
                ('held', models.BigIntegerField()),
                ('created_at', models.DateTimeField(db_default=accounts.clock.MarketNow(), editable=False)),
                ('account', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='transactions', to='ledger.ledgeraccount')),
                ('actor', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('refers_to', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='referred_by', to='ledger.ledgertransaction')),
                ('resolves', models.OneToOneField(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='resolved_by', to='ledger.hold')),
            ],
            options={
                'db_table': 'ledger_transaction',
                'ordering': ['account', 'seq'],
            },
        ),
        migrations.CreateModel(
            name='Entry',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('amount', models.BigIntegerField()),
                ('account', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='ledger.ledgeraccount')),
                ('transaction', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='entries', to='ledger.ledgertransaction')),
            ],
            options={
                'db_table': 'ledger_entry',
                'ordering': ['id'],
            },
        ),
        migrations.CreateModel(
            name='Lot',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('rank', models.SmallIntegerField(help_text='Burns earlier when smaller, among lots that last as long.')),
                ('expires_at', models.DateTimeField(blank=True, help_text="Blank: the course's end.", null=True)),
                ('in_grace', models.BooleanField(default=False, help_text="Expired while on hold; the course's end has passed.")),
                ('cap', models.BigIntegerField()),
                ('created_at', models.DateTimeField(db_default=accounts.clock.MarketNow(), editable=False)),
                ('account', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='lots', to='ledger.ledgeraccount')),
                ('origin', models.ForeignKey(help_text='Blank: allowance.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='lots', to='ledger.ledgertransaction')),
            ],
            options={
                'db_table': 'ledger_lot',
                'ordering': ['account', models.OrderBy(models.F('expires_at'), nulls_last=True), 'rank', 'id'],
            },
        ),
        migrations.AddConstraint(
            model_name='ledgeraccount',
            constraint=models.CheckConstraint(condition=models.Q(('available__gte', 0)), name='ledger_available_not_negative'),
        ),
        migrations.AddConstraint(
            model_name='ledgeraccount',
            constraint=models.CheckConstraint(condition=models.Q(('held__gte', 0)), name='ledger_held_not_negative'),
        ),
        migrations.AddConstraint(
            model_name='ledgeraccount',
            constraint=models.CheckConstraint(condition=models.Q(('kind__in', ['member', 'pool', 'purse', 'house', 'issuance', 'expired'])), name='ledger_account_kind_known'),
        ),
        migrations.AddConstraint(
            model_name='ledgeraccount',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('kind__in', ['house', 'issuance', 'expired']), ('workshop__isnull', True)), models.Q(('kind__in', ['member', 'pool', 'purse']), ('workshop__isnull', False)), _connector='OR'), name='ledger_account_in_workshop'),
        ),
        migrations.AddConstraint(
            model_name='ledgeraccount',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('kind', 'member'), ('user__isnull', False)), models.Q(models.Q(('kind', 'member'), _negated=True), ('user__isnull', True)), _connector='OR'), name='ledger_member_has_user'),
        ),
        migrations.AddConstraint(
            model_name='ledgeraccount',
            constraint=models.CheckConstraint(condition=models.Q(('cap__isnull', True), ('cap__gt', 0), _connector='OR'), name='ledger_cap_positive'),
        ),
        migrations.AddConstraint(
            model_name='ledgeraccount',
            constraint=models.UniqueConstraint(condition=models.Q(('kind', 'member')), fields=('workshop', 'user'), name='ledger_one_account_per_member'),
        ),
        migrations.AddConstraint(
            model_name='ledgeraccount',
            constraint=models.UniqueConstraint(condition=models.Q(('kind', 'pool')), fields=('workshop', 'name'), name='ledger_one_pool_per_name'),
        ),
        migrations.AddConstraint(
            model_name='ledgeraccount',
            constraint=models.UniqueConstraint(condition=models.Q(('kind', 'purse')), fields=('workshop',), name='ledger_one_purse'),
        ),
        migrations.AddConstraint(
            model_name='ledgeraccount',
            constraint=models.UniqueConstraint(condition=models.Q(('workshop__isnull', True)), fields=('kind',), name='ledger_one_house'),
        ),
        migrations.AddConstraint(
            model_name='hold',
            constraint=models.UniqueConstraint(fields=('account', 'seq'), name='ledger_hold_seq_once'),
        ),
        migrations.AddConstraint(
            model_name='hold',
            constraint=models.CheckConstraint(condition=models.Q(('amount__gt', 0)), name='ledger_hold_positive'),
        ),
        migrations.AddConstraint(
            model_name='hold',
            constraint=models.CheckConstraint(condition=django.db.models.lookups.Exact(django.db.models.functions.math.Mod(models.F('amount'), 10), 0), name='ledger_hold_in_steps'),
        ),
        migrations.AddConstraint(
            model_name='ledgertransaction',
            constraint=models.UniqueConstraint(fields=('account', 'seq'), name='ledger_transaction_seq_once'),
        ),
        migrations.AddConstraint(
            model_name='ledgertransaction',
            constraint=models.UniqueConstraint(condition=models.Q(('kind__in', ['transfer_in', 'undo'])), fields=('refers_to',), name='ledger_answered_once'),
        ),
        migrations.AddConstraint(
            model_name='ledgertransaction',
            constraint=models.CheckConstraint(condition=models.Q(('kind__in', ['grant', 'allowance', 'capture', 'release', 'refund', 'expire', 'transfer_out', 'transfer_in', 'undo'])), name='ledger_transaction_kind_known'),
        ),
        migrations.AddConstraint(
            model_name='ledgertransaction',
            constraint=models.CheckConstraint(condition=models.Q(('amount__gt', 0), models.Q(('amount', 0), ('kind__in', ['release', 'allowance'])), _connector='OR'), name='ledger_transaction_amount'),
        ),
        migrations.AddConstraint(
            model_name='ledgertransaction',
            constraint=models.CheckConstraint(condition=django.db.models.lookups.Exact(django.db.models.functions.math.Mod(models.F('amount'), 10), 0), name='ledger_transaction_in_steps'),
        ),
        migrations.AddConstraint(
            model_name='ledgertransaction',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('kind__in', ['capture', 'release']), ('resolves__isnull', False)), models.Q(models.Q(('kind__in', ['capture', 'release']), _negated=True), ('resolves__isnull', True)), _connector='OR'), name='ledger_transaction_resolves'),
        ),
        migrations.AddConstraint(
            model_name='ledgertransaction',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('kind__in', ['refund', 'transfer_in', 'undo']), ('refers_to__isnull', False)), models.Q(models.Q(('kind__in', ['refund', 'transfer_in', 'undo']), _negated=True), ('refers_to__isnull', True)), _connector='OR'), name='ledger_transaction_refers'),
        ),
        migrations.AddConstraint(
            model_name='ledgertransaction',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('kind', 'grant'), ('reference__in', ['purchase', 'gift', 'correction'])), models.Q(models.Q(('kind', 'grant'), _negated=True), ('reference', '')), _connector='OR'), name='ledger_grant_has_reference'),
        ),
        migrations.AddConstraint(
            model_name='ledgertransaction',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('currency', ''), ('money_minor__isnull', True)), models.Q(('currency__regex', '^[A-Z]{3}$'), ('money_minor__gte', 0), ('reference', 'purchase')), _connector='OR'), name='ledger_purchase_money'),
        ),
        migrations.AddIndex(
            model_name='entry',
            index=models.Index(fields=['account', 'id'], name='ledger_entry_by_account'),
        ),
        migrations.AddConstraint(
            model_name='entry',
            constraint=models.CheckConstraint(condition=models.Q(('amount', 0), _negated=True), name='ledger_entry_not_zero'),
        ),
        migrations.AddConstraint(
            model_name='lot',
            constraint=models.CheckConstraint(condition=models.Q(('cap__gte', 0)), name='ledger_lot_cap_not_negative'),
        ),
    ]
