"""Fencing tokens: each lease gets a higher one than all before it."""

from django.db import migrations


class Migration(migrations.Migration):

    initial = True

    dependencies = []

    operations = [
        migrations.RunSQL("CREATE SEQUENCE market_lease_token", "DROP SEQUENCE market_lease_token"),
    ]
