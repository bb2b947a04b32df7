"""The notice of every help page, report and picture; a leaf, so that the command line loads nothing for it."""

from __future__ import annotations

RESEARCH_USE_ONLY = "Research use only, not a medical device."
