import accounts.clock
import django.contrib.auth.models
import django.contrib.auth.validators
import django.core.validators
import django.db.models.deletion
import django.db.models.functions.text
import django.utils.timezone
import uuid
from django.conf import settings
from django.db import migrations, models


MARKET_NOW = """
CREATE FUNCTION market_now() RETURNS timestamptz LANGUAGE sql STABLE AS
$$ SELECT now() + coalesce(nullif(current_setting('market.offset', true), ''), '0')::interval $$;
COMMENT ON FUNCTION market_now() IS
    'The clock of all rules: the transaction''s start plus an offset that only tests set.';
"""


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
    ]

    operations = [
        # First of all migrations: columns of every room default to it.
        migrations.RunSQL(MARKET_NOW, "DROP FUNCTION market_now()"),
        migrations.CreateModel(
            name='User',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('password', models.CharField(max_length=128, verbose_name='password')),
                ('last_login', models.DateTimeField(blank=True, null=True, verbose_name='last login')),
                ('is_superuser', models.BooleanField(default=False, help_text='Designates that this user has all permissions without explicitly assigning them.', verbose_name='superuser status')),
                ('username', models.CharField(error_messages={'unique': 'A user with that username already exists.'}, help_text='Required. 150 characters or fewer. Letters, digits and @/./+/-/_ only.', max_length=150, unique=True, validators=[django.contrib.auth.validators.UnicodeUsernameValidator()], verbose_name='username')),
                ('email', models.EmailField(blank=True, max_length=254, verbose_name='email address')),
                ('is_staff', models.BooleanField(default=False, help_text='Designates whether the user can log into this admin site.', verbose_name='staff status')),
                ('is_active', models.BooleanField(default=True, help_text='Designates whether this user should be treated as active. Unselect this instead of deleting accounts.', verbose_name='active')),
                ('date_joined', models.DateTimeField(default=django.utils.timezone.now, verbose_name='date joined')),
                ('display_name', models.CharField(blank=True, max_length=120, verbose_name='display name')),
                ('key_namespace', models.UUIDField(default=uuid.uuid4, editable=False, help_text="Scopes this user's idempotency keys.")),
                ('groups', models.ManyToManyField(blank=True, help_text='The groups this user belongs to. A user will get all permissions granted to each of their groups.', related_name='user_set', related_query_name='user', to='auth.group', verbose_name='groups')),
                ('user_permissions', models.ManyToManyField(blank=True, help_text='Specific permissions for this user.', related_name='user_set', related_query_name='user', to='auth.permission', verbose_name='user permissions')),
            ],
            managers=[
                ('objects', django.contrib.auth.models.UserManager()),
            ],
        ),
        migrations.CreateModel(
            name='ApiToken',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=60)),
                ('prefix', models.CharField(help_text='First characters, so that people recognise it.', max_length=8)),
                ('sha256', models.CharField(max_length=64, unique=True)),
                ('created_at', models.DateTimeField(db_default=accounts.clock.MarketNow(), editable=False)),
                ('last_used_at', models.DateTimeField(blank=True, null=True)),
                ('revoked_at', models.DateTimeField(blank=True, null=True)),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='api_tokens', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-created_at'],
            },
        ),
        migrations.CreateModel(
            name='Workshop',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('slug', models.SlugField(max_length=60, unique=True)),
                ('name', models.CharField(max_length=120)),
                ('timezone', models.CharField(default='UTC', max_length=60)),
                ('seats', models.PositiveIntegerField(default=20)),
                ('policy', models.CharField(choices=[('fifo', 'First come, first served'), ('priority', 'Priority classes'), ('round_robin', 'Round robin'), ('fair_share', 'Fair turns'), ('market', 'Market')], default='fifo', max_length=20)),
                ('fairness_phi', models.FloatField(default=0, validators=[django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(60)])),
                ('allowance_milli_per_hour', models.PositiveBigIntegerField(default=10000)),
                ('allowance_cap_milli', models.PositiveBigIntegerField(blank=True, null=True)),
                ('max_in_flight', models.PositiveSmallIntegerField(default=3)),
                ('max_waiting', models.PositiveSmallIntegerField(default=50)),
                ('milli_per_gpu_second', models.PositiveBigIntegerField(default=20, help_text='Base price of one reference GPU-second, in milli-credits.')),
                ('allowed_node_types', models.JSONField(blank=True, default=list)),
                ('paused_reason', models.CharField(blank=True, help_text='Set: nothing new starts; students read this.', max_length=200)),
                ('closed_at', models.DateTimeField(blank=True, null=True)),
                ('ends_at', models.DateTimeField(blank=True, help_text="Course end: members' credits expire and no allowance is given after it.", null=True)),
                ('created_at', models.DateTimeField(db_default=accounts.clock.MarketNow(), editable=False)),
            ],
            options={
                'ordering': ['name'],
                'constraints': [models.CheckConstraint(condition=models.Q(('milli_per_gpu_second__gt', 0)), name='workshop_price_positive'), models.CheckConstraint(condition=models.Q(('policy__in', ['fifo', 'priority', 'round_robin', 'fair_share', 'market'])), name='workshop_policy_known')],
            },
        ),
        migrations.CreateModel(
            name='Enrolment',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('role', models.CharField(choices=[('student', 'Student'), ('assistant', 'Assistant'), ('instructor', 'Instructor'), ('organizer', 'Organizer')], default='student', max_length=12)),
                ('team', models.CharField(blank=True, max_length=60)),
                ('alias', models.CharField(blank=True, help_text='What other students see instead of the name.', max_length=40)),
                ('created_at', models.DateTimeField(db_default=accounts.clock.MarketNow(), editable=False)),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='enrolments', to=settings.AUTH_USER_MODEL)),
                ('workshop', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='enrolments', to='accounts.workshop')),
            ],
            options={
                'ordering': ['workshop', 'user'],
            },
        ),
        migrations.CreateModel(
            name='ClassSession',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('title', models.CharField(blank=True, max_length=120)),
                ('opens_at', models.DateTimeField()),
                ('closes_at', models.DateTimeField()),
                ('state', models.CharField(choices=[('rehearsal', 'Rehearsal'), ('open', 'Open'), ('break', 'Break'), ('last_call', 'Last call'), ('closing', 'Closing'), ('closed', 'Closed')], default='rehearsal', max_length=12)),
                ('workshop', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='sessions', to='accounts.workshop')),
            ],
            options={
                'ordering': ['opens_at'],
            },
        ),
        migrations.CreateModel(
            name='AuditRow',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('action', models.CharField(max_length=60)),
                ('subject', models.CharField(help_text='kind:id, as in job:… or user:…', max_length=120)),
                ('before', models.JSONField(null=True)),
                ('after', models.JSONField(null=True)),
                ('reason', models.CharField(blank=True, max_length=500)),
                ('at', models.DateTimeField(db_default=accounts.clock.MarketNow(), editable=False)),
                ('actor', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('workshop', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='audit', to='accounts.workshop')),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
        migrations.AddConstraint(
            model_name='user',
            constraint=models.UniqueConstraint(django.db.models.functions.text.Lower('email'), condition=models.Q(('email', ''), _negated=True), name='user_email_once', violation_error_message='This e-mail is taken.'),
        ),
        migrations.AddConstraint(
            model_name='enrolment',
            constraint=models.UniqueConstraint(fields=('user', 'workshop'), name='enrolled_once'),
        ),
        migrations.AddConstraint(
            model_name='enrolment',
            constraint=models.CheckConstraint(condition=models.Q(('role__in', ['student', 'assistant', 'instructor', 'organizer'])), name='enrolment_role_known'),
        ),
        migrations.AddConstraint(
            model_name='classsession',
            constraint=models.CheckConstraint(condition=models.Q(('closes_at__gt', models.F('opens_at'))), name='session_closes_after_open'),
        ),
        migrations.AddIndex(
            model_name='auditrow',
            index=models.Index(fields=['workshop', '-id'], name='audit_by_workshop'),
        ),
    ]
