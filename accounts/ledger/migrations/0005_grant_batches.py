
import accounts.clock
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0003_allowance_rules'),
        ('ledger', '0004_enrolment_due'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='GrantBatch',
            fields=[
                ('key', models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ('user_ids', models.JSONField(help_text='Whom, in ascending order.')),
                ('amount', models.BigIntegerField(help_text='Milli-credits for each.')),
                ('reference', models.CharField(choices=[('purchase', 'Purchase'), ('gift', 'Gift'), ('correction', 'Correction')], max_length=12)),
                ('reason', models.CharField(max_length=500)),
                ('expires_at', models.DateTimeField(blank=True, null=True)),
                ('created_at', models.DateTimeField(db_default=accounts.clock.MarketNow(), editable=False)),
                ('undone_at', models.DateTimeField(blank=True, null=True)),
                ('actor', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('pool', models.ForeignKey(help_text='Blank: issued anew.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='ledger.ledgeraccount')),
                ('undone_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('workshop', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='accounts.workshop')),
            ],
            options={
                'verbose_name_plural': 'grant batches',
                'db_table': 'ledger_grant_batch',
                'ordering': ['-created_at'],
                'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('undone_at__isnull', True), ('undone_by__isnull', True)), models.Q(('undone_at__isnull', False), ('undone_by__isnull', False)), _connector='OR'), name='ledger_batch_undone_by_somebody')],
            },
        ),
    ]
