"""Versions of JSON: of everything that commands print (docs/events.md), and of sidecars.

Fields are added and never renamed; a change of meaning raises the number. Sidecars and saved plans
are files that later versions read again, and have numbers of their own. Pure.
"""

from __future__ import annotations

SCHEMA_VERSION = 1
#: Of the record beside each file.
SIDECAR_VERSION = 1
