"""A Django project of one model, in this process."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any


@contextmanager
def database() -> Iterator[Any]:
    """Configures Django on an SQLite file and yields a model whose table is there."""
    django, conf = import_module("django"), import_module("django.conf")
    with tempfile.TemporaryDirectory() as folder:
        default = {"ENGINE": "django.db.backends.sqlite3", "NAME": os.path.join(folder, "notes.sqlite3")}
        conf.settings.configure(
            DATABASES={"default": default}, USE_TZ=True, DEFAULT_AUTO_FIELD="django.db.models.AutoField"
        )
        django.setup()
        db, models = import_module("django.db"), import_module("django.db.models")
        members = {"text": models.TextField(), "Meta": type("Meta", (), {"app_label": "selftest"})}
        note = type("Note", (models.Model,), {"__module__": __name__, **members})
        with db.connection.schema_editor() as editor:
            editor.create_model(note)
        try:
            yield note
        finally:
            db.connections.close_all()
