"""A Django project of one model, in this process."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def database() -> Iterator[Any]:
    """Configures Django on an SQLite file and yields a model whose table is there."""
    import django
    from django.conf import settings

    with tempfile.TemporaryDirectory() as folder:
        default = {"ENGINE": "django.db.backends.sqlite3", "NAME": os.path.join(folder, "notes.sqlite3")}
        settings.configure(
            DATABASES={"default": default}, USE_TZ=True, DEFAULT_AUTO_FIELD="django.db.models.AutoField"
        )
        django.setup()
        from django.db import connection, connections, models

        class Note(models.Model):
            text = models.TextField()

            class Meta:
                app_label = "selftest"

        with connection.schema_editor() as editor:
            editor.create_model(Note)
        try:
            yield Note
        finally:
            connections.close_all()
