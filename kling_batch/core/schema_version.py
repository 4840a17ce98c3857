"""Version of everything that commands print as JSON, documented in docs/events.md.

Fields are added and never renamed; a change of meaning raises the number. Sidecars and saved plans
are files that later versions read again, and have numbers of their own. Pure.
"""

from __future__ import annotations

SCHEMA_VERSION = 1
