
import accounts.clock
import django.db.models.functions.math
import django.db.models.lookups
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0002_audit_append_only'),
    ]

    operations = [
        migrations.AddField(
            model_name='enrolment',
            name='joined_at',
            field=models.DateTimeField(db_default=accounts.clock.MarketNow(), editable=False, help_text='Became a student then: allowance counts from here.'),
        ),
        migrations.AddConstraint(
            model_name='workshop',
            constraint=models.CheckConstraint(condition=models.Q(django.db.models.lookups.Exact(django.db.models.functions.math.Mod(models.F('allowance_milli_per_hour'), 10), 0), ('allowance_milli_per_hour__lte', 1000000000)), name='workshop_allowance_in_steps', violation_error_message='Give the allowance in steps of 0.01 credits, a million at most.'),
        ),
        migrations.AddConstraint(
            model_name='workshop',
            constraint=models.CheckConstraint(condition=models.Q(('allowance_cap_milli__isnull', True), django.db.models.lookups.Exact(django.db.models.functions.math.Mod(models.F('allowance_cap_milli'), 10), 0), _connector='OR'), name='workshop_allowance_cap_in_steps', violation_error_message='Give the cap in steps of 0.01 credits.'),
        ),
    ]
