r"""One case from its images to its answers: every prompt is asked, slices are decided on together, answers handed on.

    images --ask every prompt--> answers --decide (slices of a stack)--> keep: files, a report or records
       \--weigh, settle, draw (`medclipsam.volume.together`)--^

This is the walk of every scan, alone (`one_scan`) or in a folder (`worker`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from medclipsam.runs.pictures import Pictures
from medclipsam.runs.windows import Ask, WindowChoice
from medclipsam.types import NO_HINTS, Hints, MedImage
from medclipsam.volume.decision import decide
from medclipsam.volume.neighbours import Answered
from medclipsam.volume.rules import VolumeRule
from medclipsam.volume.together import TwoSteps, answered_together

Keep = Callable[[Answered, int], None]
"""Takes the final answers of an image, and its number."""


def answer_case(
    images: Iterable[MedImage],
    pictures: Pictures,
    prompts: Sequence[str],
    ask: Ask,
    keep: Keep,
    *,
    rule: VolumeRule,
    takes_hints: bool,
    hints: Hints = NO_HINTS,
    in_two_steps: TwoSteps | None = None,
    choice: WindowChoice | None = None,
) -> None:
    """Ask every prompt of every image, decide on the slices of a stack together, and hand the answers on in order.

    Args:
        images: those of `pictures`, as they come.
        pictures: says where slices lie, and reads an image again where the decision needs it.
        prompts: asked of each image while its encoding is remembered.
        ask: what a prompt finds on an image.
        keep: takes what was decided.
        rule: how neighbouring slices are combined.
        takes_hints: whether a slice may be asked again with its neighbours' box.
        hints: a person's own, for every image.
        in_two_steps: how slices are asked where the rule settles their evidence; None of a method that cannot.
        choice: shows each image in the window that suits a prompt; None asks of all as they were read.

    Raises:
        BadInput: an image that cannot be read; what `ask` and `keep` raise.
    """
    if choice:
        ask = choice.asking(ask)
        in_two_steps = in_two_steps and choice.in_two_steps(in_two_steps, prompts[0])
    places_mm = pictures.places_mm
    if in_two_steps and rule.settle and places_mm is not None and len(places_mm) > 1:
        slices = answered_together(images, prompts, places_mm, in_two_steps, pictures.read)
    else:
        slices = _asked(images, prompts, ask, hints)
    again = ask if takes_hints else None
    for index, answered in enumerate(decide(slices, places_mm, rule, ask=again, again=pictures.read)):
        keep(answered, index)


def _asked(images: Iterable[MedImage], prompts: Sequence[str], ask: Ask, hints: Hints) -> Iterator[Answered]:
    """What each prompt finds on each image alone."""
    for image in images:
        results = []
        for prompt in prompts:
            results.append(ask(image, prompt, hints))
        yield Answered(image, results)
