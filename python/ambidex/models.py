"""Models that are made in code: routes over models, scripts, people, functions."""

from __future__ import annotations
