import accounts.clock
import django.db.models.deletion
import marketplace.fleet.models
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('accounts', '0001_people'),
    ]

    operations = [
        migrations.CreateModel(
            name='NodeDefinitions',
            fields=[
                ('sha256', models.CharField(max_length=64, primary_key=True, serialize=False)),
                ('body', models.JSONField()),
                ('created_at', models.DateTimeField(db_default=accounts.clock.MarketNow(), editable=False)),
            ],
            options={
                'verbose_name_plural': 'node definitions',
            },
        ),
        migrations.CreateModel(
            name='Agent',
            fields=[
                ('id', models.CharField(default=marketplace.fleet.models.new_agent_id, editable=False, max_length=32, primary_key=True, serialize=False)),
                ('name', models.CharField(max_length=60, unique=True)),
                ('token_prefix', models.CharField(max_length=8)),
                ('token_sha256', models.CharField(max_length=64, unique=True)),
                ('previous_token_sha256', models.CharField(blank=True, db_index=True, max_length=64)),
                ('previous_token_until', models.DateTimeField(blank=True, help_text='The token before the last rotation works until then.', null=True)),
                ('state', models.CharField(choices=[('new', 'Never seen'), ('ready', 'Ready'), ('draining', 'Draining'), ('lost', 'Lost contact'), ('revoked', 'Revoked')], default='new', max_length=10)),
                ('simulated', models.BooleanField(default=False)),
                ('speed_factor', models.FloatField(default=1.0, help_text='Against the reference GPU.')),
                ('version', models.CharField(blank=True, max_length=40)),
                ('hostname', models.CharField(blank=True, max_length=120)),
                ('comfyui_ready', models.BooleanField(default=False)),
                ('comfyui_version', models.CharField(blank=True, max_length=40)),
                ('warnings', models.JSONField(blank=True, default=list)),
                ('resident_models', models.JSONField(blank=True, default=list)),
                ('drain_requested', models.BooleanField(default=False)),
                ('pause_reason', models.CharField(blank=True, max_length=200)),
                ('remaining_ms', models.IntegerField(blank=True, help_text='Of the running job, as last reported.', null=True)),
                ('last_seen_at', models.DateTimeField(blank=True, null=True)),
                ('enrolled_at', models.DateTimeField(db_default=accounts.clock.MarketNow(), editable=False)),
                ('workshop', models.ForeignKey(blank=True, help_text='Serves only this workshop; blank: any.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='agents', to='accounts.workshop')),
            ],
            options={
                'ordering': ['name'],
            },
        ),
        migrations.CreateModel(
            name='Device',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('uuid', models.CharField(max_length=80)),
                ('name', models.CharField(max_length=120)),
                ('vram_total_bytes', models.BigIntegerField()),
                ('vram_free_bytes', models.BigIntegerField()),
                ('utilization_percent', models.FloatField(blank=True, null=True)),
                ('temperature_celsius', models.FloatField(blank=True, null=True)),
                ('power_watts', models.FloatField(blank=True, null=True)),
                ('simulated', models.BooleanField(default=False)),
                ('lost', models.BooleanField(default=False)),
                ('sampled_at', models.DateTimeField(db_default=accounts.clock.MarketNow())),
                ('agent', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='device', to='fleet.agent')),
            ],
        ),
        migrations.CreateModel(
            name='Installation',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('timeline', models.PositiveIntegerField(default=1)),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('pk', 1)), name='installation_single_row')],
            },
        ),
        migrations.CreateModel(
            name='Inventory',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('model_files', models.JSONField(default=dict, help_text='Folder → names present.')),
                ('any_model', models.BooleanField(default=False)),
                ('job_types', models.JSONField(default=list)),
                ('published_at', models.DateTimeField(db_default=accounts.clock.MarketNow())),
                ('agent', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='inventory', to='fleet.agent')),
                ('node_definitions', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='fleet.nodedefinitions')),
            ],
            options={
                'verbose_name_plural': 'inventories',
            },
        ),
    ]
