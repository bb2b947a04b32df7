"""Checks prompts: any language and any symbol, but some, not too many, and on one line."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from medclipsam.errors import BadInput

LONGEST_PROMPT = 2000
"""Characters; far beyond what any text encoder here reads (BiomedCLIP: 256 tokens)."""
REFUSED = {"Cc": "a control character", "Cs": "a broken character", "Zl": "a line break", "Zp": "a line break"}


def check_prompt(text: str) -> str:
    """`text` without the space around it.

    Raises:
        BadInput: nothing but space, too long, or characters that cannot be shown or stored on one line.
    """
    prompt = text.strip()
    if not prompt:
        raise BadInput("the prompt is empty", 'say what to segment, for example --prompt "breast tumor"')
    if len(prompt) > LONGEST_PROMPT:
        raise BadInput(f"a prompt of {len(prompt):,} characters is too long", f"use at most {LONGEST_PROMPT:,}")
    for place, character in enumerate(prompt):
        kind = REFUSED.get(unicodedata.category(character))
        if kind:
            raise BadInput(f"the prompt holds {kind} (U+{ord(character):04X}) at position {place}", "remove it")
    return prompt


def check_prompts(texts: Sequence[str]) -> tuple[str, ...]:
    """Each prompt once, in the order given.

    Raises:
        BadInput: no prompt, or one that `check_prompt` refuses.
    """
    prompts = tuple(dict.fromkeys(check_prompt(text) for text in texts))
    if not prompts:
        raise BadInput("no prompt was given", 'say what to segment, for example --prompt "breast tumor"')
    return prompts
