"""The routes of the review room: what they tell, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bright import BrightSegmenter
from label_folders import drawn, labelled
from PIL import Image
from served import LIMITS, TOKEN
from starlette.testclient import TestClient

from medclipsam.io.window import Window, parse_window
from medclipsam.review.store import ReviewStore
from medclipsam.serve.answers import Answers
from medclipsam.serve.app import make_app
from medclipsam.serve.guard import Guard
from medclipsam.serve.routes.review import _window_text


@pytest.fixture
def store(tmp_path: Path) -> ReviewStore:
    """Four pictures and two prompts, one of them found nowhere."""
    return ReviewStore(*labelled(tmp_path, "tumor", "unicorn"))


@pytest.fixture
def room(store: ReviewStore) -> Iterator[TestClient]:
    """The server of `medclipsam review`, for one who knows the token."""
    answers = Answers(BrightSegmenter, folders=store.folders, limits=LIMITS)
    app = Guard(make_app(answers, store), token=TOKEN, most_bytes=LIMITS.upload_bytes)
    with TestClient(app, base_url="http://127.0.0.1:8765") as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        yield client
    answers.close()


def png(mask: np.ndarray, **how: Any) -> bytes:
    """A mask as the page sends it."""
    stream = BytesIO()
    Image.fromarray(mask * np.uint8(255)).convert("RGBA").save(stream, how.get("format", "PNG"))
    return stream.getvalue()


def decide(room: TestClient, item: str, state: str, seen: str | None = None, **masks: bytes) -> Any:
    """What the server answers to a decision."""
    files = [("request", (None, json.dumps({"state": state, "seen": seen})))]
    files += [("masks", (f"{name}.png", content)) for name, content in masks.items()]  # type: ignore[misc]
    return room.post(f"/v1/review/items/{item}/decision", files=files)


def test_the_list_is_filtered_and_counts_what_is_decided(room: TestClient, store: ReviewStore) -> None:
    assert room.get("/v1/review").json() == {"folder": "labels", "images": True, "prompts": ["tumor", "unicorn"]}
    found = room.get("/v1/review/items?prompt=&state=&verdict=&least=0&most=1").json()
    assert [item["id"] for item in found["items"]] == [item.id for item in store.items()]
    assert (found["decided"], found["total"]) == (0, 8)
    assert decide(room, found["items"][0]["id"], "accepted").status_code == 200
    tumors = room.get("/v1/review/items?prompt=tumor&state=waiting").json()
    assert (len(tumors["items"]), tumors["decided"], tumors["total"]) == (3, 1, 4)
    missed = room.get("/v1/review/items?verdict=not found").json()["items"]
    assert {(item["prompt"], item["reason"]) for item in missed} == {("unicorn", "presence is below the threshold")}
    assert room.get("/v1/review/items?least=2").status_code == 422


def test_an_item_s_scan_opens_and_its_mask_lies_on_it(room: TestClient, store: ReviewStore) -> None:
    item = store.items()[0]
    told = room.post(f"/v1/review/items/{item.id}/scan").json()
    assert (told["scan"]["count"], told["scan"]["size"]) == (1, {"height": 40, "width": 60})
    shown = room.get(f"/v1/scans/{told['scan']['id']}/slices/0.png")
    assert Image.open(BytesIO(shown.content)).size == (60, 40)
    mask = np.asarray(Image.open(BytesIO(room.get(f"/v1/review/items/{item.id}/masks/0.png").content)))
    np.testing.assert_array_equal(mask > 0, store.image_and_mask(item, 0)[1])
    assert room.get(f"/v1/review/items/{item.id}/masks/7.png").status_code == 422
    assert room.get(f"/v1/review/items/{item.id}/overlay.jpg").headers["content-type"] == "image/jpeg"


@pytest.mark.parametrize(
    ("window", "text"), [(1, "2"), ((40.0, 400.0), "40.0,400.0"), ("lung", "lung"), ("file", "file")]
)
def test_a_scan_opens_in_the_window_that_its_folder_was_labelled_in(window: Window, text: str) -> None:
    assert _window_text(window) == text
    assert parse_window(text) == window


def test_a_decision_that_another_window_overtook_is_a_conflict(room: TestClient, store: ReviewStore) -> None:
    item = store.items()[0].id
    first = decide(room, item, "accepted").json()["decision"]["id"]
    late = decide(room, item, "rejected")
    assert (late.status_code, "another window" in late.json()["problem"]) == (409, True)
    assert decide(room, item, "rejected", first).status_code == 200
    again = room.post("/v1/review/undo", json={"decision": first}).json()
    assert again == {"item": None}
    assert store.item(item).state == "rejected"


def test_a_corrected_mask_arrives_pixel_by_pixel(room: TestClient, store: ReviewStore) -> None:
    item = store.items()[0]
    assert decide(room, item.id, "corrected", **{"0": png(drawn(top=7))}).json()["state"] == "corrected"
    np.testing.assert_array_equal(store.image_and_mask(store.item(item.id), 0)[1], drawn(top=7))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("0", b"no picture"),
        ("0", png(drawn(top=7), format="GIF")),
        ("0", png(np.ones((4, 4), bool))),
        ("1", png(drawn(top=7))),
        ("-1", png(drawn(top=7))),
        ("../0", png(drawn(top=7))),
    ],
)
def test_a_mask_that_is_none_of_the_item_s_is_refused_and_decides_nothing(
    room: TestClient, store: ReviewStore, name: str, content: bytes
) -> None:
    answer = decide(room, store.items()[0].id, "corrected", **{name: content})
    assert answer.status_code == 422, answer.text
    assert {item.state for item in store.items()} == {"waiting"}
    assert not list(store.folder.glob("reviewed/**/*.png"))


def test_unknown_items_and_states_are_refused(room: TestClient, store: ReviewStore) -> None:
    assert decide(room, "nobody", "accepted").status_code == 422
    assert decide(room, store.items()[0].id, "loved").status_code == 422
    assert room.post(f"/v1/review/items/{store.items()[0].id}/decision", json={}).status_code in (400, 422)
    assert room.get("/v1/review/items/..%2f..%2frun.json/overlay.jpg").status_code in (404, 422)


def test_a_server_without_a_folder_says_so(client: TestClient) -> None:
    assert client.get("/v1/review").json() == {"folder": None, "images": False, "prompts": []}
    assert client.get("/v1/review/items").status_code == 422


def test_values_come_with_the_window_that_the_model_sees(room: TestClient, store: ReviewStore) -> None:
    told = room.post(f"/v1/review/items/{store.items()[0].id}/scan").json()["scan"]
    answer = room.get(f"/v1/scans/{told['id']}/slices/0/values")
    values = np.frombuffer(answer.content, "<f4").reshape(40, 60)
    picture = np.asarray(Image.open(BytesIO(room.get(f"/v1/scans/{told['id']}/slices/0.png").content)))
    centre, width = map(float, answer.headers["X-Window"].split(","))
    np.testing.assert_allclose(np.clip(255 * (values - centre + width / 2) / width, 0, 255), picture, atol=0.6)
