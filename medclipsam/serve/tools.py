"""Offers the server's work as tools of the Model Context Protocol, over stdin and stdout.

    targets                      what the embedded model was taught
    segment(path, prompts, ...)  a scan below a folder named at the start -> report, and files below the output folder
    evaluate(predictions, references, ...)   folders of masks below the same folders -> Dice, IoU, NSD, HD95

What a caller can mend comes back as a tool's error, in one line; a path outside the folders is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Literal

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field, ValidationError

import medclipsam
from medclipsam.errors import UserError
from medclipsam.io.mask_formats import ScanFormat
from medclipsam.notice import RESEARCH_USE_ONLY
from medclipsam.serve.answers import Answer, Answers
from medclipsam.serve.asking import Ask, Click
from medclipsam.serve.guard import log_bug
from medclipsam.serve.scans import below
from medclipsam.serve.waiting import Busy
from medclipsam.weights.targets import targets_of

INSTRUCTIONS = f"""Segments medical images on this machine from words such as "liver" or "breast tumor". `targets` lists
what the model was taught; other words may be answered "not found", which is an answer and no error. Masks can be wrong:
let a person look at overlay.png. {RESEARCH_USE_ONLY}"""
Box = Annotated[tuple[float, float, float, float], Field(description="x0, y0, x1, y1 by its edges, in pixels.")]
Span = Annotated[tuple[int, int | None], Field(description="From the first number up to but without the second.")]


def make_server(answers: Answers, output: Path) -> MCPServer:
    """The tools.

    Args:
        answers: holds the model, and the folders below which paths may lie.
        output: the folder below which results are written, each scan's in a folder of its own.
    """
    server = MCPServer("medclipsam", instructions=INSTRUCTIONS, version=medclipsam.__version__, log_level="ERROR")
    readable = [*answers.folders, output]

    @server.tool(description="List what the model was taught, with its Dice on test images.")
    def targets() -> list[dict[str, Any]]:
        info = answers.segmenter().info
        return [
            {"target": each.target, "images": each.images, "dice": each.dice, "dice_elsewhere": each.dice_elsewhere}
            for each in targets_of(info.preset, info.weights)
        ]

    @server.tool(description="Segment what the prompts name in one scan; writes masks, overlay.png and report.json.")
    async def segment(
        path: Annotated[str, Field(description="A scan (file, or folder of a DICOM series) below the folders.")],
        prompts: Annotated[list[str], Field(description="What to segment, such as `liver`.", min_length=1)],
        *,
        boxes: Annotated[list[Box], Field(description="Your own boxes, in place of the words' evidence.")] = [],  # noqa: B006
        points: Annotated[list[Click], Field(description="Your own points, for presets that take them.")] = [],  # noqa: B006
        slice: Annotated[int | None, Field(description="One slice of a volume, from 0.")] = None,
        slices: Annotated[Span | None, Field(description="Some slices of a volume.")] = None,
        frame: Annotated[int | None, Field(description="One frame of a film or page of a TIFF, from 0.")] = None,
        window: Annotated[
            str | None, Field(description="Display window: auto, file, lung, soft-tissue, 40,400 ...")
        ] = None,
        formats: Annotated[list[ScanFormat], Field(description="Formats of the masks.")] = ["auto"],  # noqa: B006
        always: Annotated[bool, Field(description="Give a mask even where the answer is: not found.")] = False,
    ) -> dict[str, Any]:
        with _mendable():
            ask = Ask(
                path=path,
                prompts=prompts,
                boxes=boxes,
                points=points,
                slice=slice,
                slices=slices,
                frame=frame,
                window=window,
                formats=formats,
                always=always,
            )
            return _told(await _segmented(answers, ask, output))

    @server.tool(description="Measure a folder of predicted masks against references of the same names.")
    def evaluate(
        predictions: Annotated[str, Field(description="Folder of masks, or of `medclipsam pseudolabel`.")],
        references: Annotated[str, Field(description="Folder of reference masks.")],
        tolerance: Annotated[float, Field(description="Tolerance of NSD.", ge=0)] = 2.0,
        unit: Annotated[Literal["px", "mm"], Field(description="Unit of the tolerance and of distances.")] = "px",
        prompt: Annotated[str | None, Field(description="Prompt to measure, of a folder with several.")] = None,
    ) -> dict[str, Any]:
        with _mendable():
            found, expected = (below(readable, each) for each in (predictions, references))
            return _measured(found, expected, tolerance, unit, prompt)

    return server


@contextmanager
def _mendable() -> Iterator[None]:
    """Hand on what a caller can mend; of a bug the place alone, for its words may quote a file.

    Raises:
        ToolError: in place of every other exception.
    """
    try:
        yield
    except (UserError, Busy) as error:
        raise ToolError(str(error)) from None
    except ValidationError as error:
        first = error.errors()[0]
        raise ToolError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except Exception as error:
        log_bug(error)
        raise ToolError("the tool failed; the server's terminal says where") from None


async def _segmented(answers: Answers, ask: Ask, output: Path) -> Answer:
    """One answer in the queue; who calls off the tool gives up the place."""
    key = await asyncio.to_thread(answers.scan_of, ask)
    ticket = answers.waiting.put(lambda stop: answers.written(key, ask, stop, _free(output, answers.case_of(key))))
    try:
        answer: Answer = await asyncio.wrap_future(ticket.future)
        return answer
    finally:
        answers.waiting.give_up(ticket)


def _free(output: Path, case: str) -> Path:
    """A folder that is not there yet: CASE, CASE-2, CASE-3 ..."""
    return next(
        folder
        for folder in (output / (case if number == 1 else f"{case}-{number}") for number in count(1))
        if not folder.exists()
    )


def _told(answer: Answer) -> dict[str, Any]:
    return {
        "found": _found(answer.report),
        "folder": str(answer.folder),
        "files": list(answer.files),
        "report": answer.report,
    }


def _found(report: dict[str, Any]) -> dict[str, int]:
    """For each prompt the number of images in which it was found."""
    found: dict[str, int] = {}
    for image in report["images"]:
        for result in image["results"]:
            found[result["prompt"]] = found.get(result["prompt"], 0) + bool(result["found"])
    return found


def _measured(
    found: Path, expected: Path, tolerance: float, unit: Literal["px", "mm"], prompt: str | None
) -> dict[str, Any]:
    from medclipsam.evaluate import Measuring, evaluate_folders, to_record  # noqa: PLC0415

    measuring = Measuring(tolerance=tolerance, unit=unit, prompt=prompt)
    return to_record(evaluate_folders(found, expected, measuring))
