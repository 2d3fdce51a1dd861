"""``python -m ambidex`` is the command ``ambidex``."""

from __future__ import annotations

import sys

from ambidex._command import main

sys.exit(main())
