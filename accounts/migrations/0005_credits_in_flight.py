"""A limit on the credits one student may have in flight."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0004_class_rules")]

    operations = [
        migrations.AddField(
            model_name="workshop",
            name="max_credits_in_flight_milli",
            field=models.PositiveBigIntegerField(
                blank=True,
                help_text="Most one student may have set aside for jobs in line and running; blank: no limit.",
                null=True,
            ),
        )
    ]
