"""The numbers people call jobs by."""

from django.db import migrations


class Migration(migrations.Migration):

    initial = True

    dependencies = []

    operations = [
        migrations.RunSQL("CREATE SEQUENCE jobs_job_number", "DROP SEQUENCE jobs_job_number"),
    ]
