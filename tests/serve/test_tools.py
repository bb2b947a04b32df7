"""A client of the protocol's own SDK lists the tools and uses them; what lies elsewhere is refused."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bright import BrightSegmenter
from mcp import Client, StdioServerParameters
from PIL import Image
from served import picture, without_times
from typed import typed

from medclipsam.runs.one_scan import ScanRequest, segment_scan

Talk = Callable[[Client], Awaitable[Any]]


@pytest.fixture
def talk(folder: Path, tmp_path: Path) -> Callable[[Talk], Any]:
    """Start the server as a client does, talk to it, and end it."""
    program = str(Path(__file__).with_name("bright_tools.py"))
    server = StdioServerParameters(
        command=sys.executable, args=[program, str(folder), str(tmp_path / "out")], env=dict(os.environ)
    )

    async def held(what: Talk) -> Any:
        async with Client(server) as client:
            return await what(client)

    return lambda what: asyncio.run(held(what))


def test_the_tools_segment_measure_and_refuse(folder: Path, tmp_path: Path, talk: Callable[[Talk], Any]) -> None:
    scan = picture(folder / "a.png")
    secret = picture(tmp_path / "secret.png")
    (folder / "truth").mkdir()
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(folder / "truth" / "a.png")
    request = ScanRequest(scan=scan, prompts=("tumor", "unicorn"), folder=tmp_path / "expected")
    expected = segment_scan(request, BrightSegmenter, lambda *_: None)

    async def all_of_it(client: Client) -> None:
        listed = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert listed.keys() == {"segment", "targets", "evaluate"}
        assert all(tool.description for tool in listed.values())
        assert "path" in listed["segment"].input_schema["required"]
        taught = await client.call_tool("targets")
        assert taught.structured_content == {"result": []}  # no model of the package computes here

        asked = {"path": "a.png", "prompts": ["tumor", "unicorn"]}
        answer = (await client.call_tool("segment", asked)).structured_content
        assert answer is not None
        assert answer["found"] == {"tumor": 1, "unicorn": 0}
        assert without_times(answer["report"]) == without_times(expected)
        for path in (tmp_path / "expected").glob("*.png"):
            assert (Path(answer["folder"]) / path.name).read_bytes() == path.read_bytes()
        again = (await client.call_tool("segment", asked)).structured_content
        assert again is not None
        assert again["folder"] == f"{answer['folder']}-2"

        for wanted in (str(secret), "../secret.png", "nothing.png"):
            refused = await client.call_tool("segment", {"path": wanted, "prompts": ["tumor"]})
            assert (refused.is_error, "no folder of this server holds this path" in str(refused.content)) == (
                True,
                True,
            )
        outside = await client.call_tool("evaluate", {"predictions": str(tmp_path), "references": "truth"})
        assert outside.is_error
        wrong = await client.call_tool("segment", {"path": "a.png", "prompts": [" "]})
        assert (wrong.is_error, "the prompt is empty" in str(wrong.content)) == (True, True)
        measured = (
            await client.call_tool("evaluate", {"predictions": "truth", "references": "truth"})
        ).structured_content
        assert measured is not None
        assert measured["counts"]["both empty"] == 1

    talk(all_of_it)


def test_a_box_is_used(folder: Path, talk: Callable[[Talk], Any]) -> None:
    picture(folder / "a.png")

    async def boxed(client: Client) -> Any:
        asked = {"path": "a.png", "prompts": ["x"], "boxes": [[20, 10, 30, 20]]}
        return (await client.call_tool("segment", asked)).structured_content

    assert talk(boxed)["report"]["images"][0]["results"][0]["area_px"] == 11 * 11


def test_the_command_refuses_a_folder_that_is_not_there(tmp_path: Path) -> None:
    result = typed("mcp", "--folder", tmp_path / "no", "-o", tmp_path / "out")
    assert (result.exit_code, "is no folder" in result.output) == (2, True)
