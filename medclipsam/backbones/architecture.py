"""Builds an open_clip model from the files of one folder, without the network.

open_clip's `local-dir:` schema reads the architecture from disk, but a BERT text tower would still ask the hub for
its shape, and 200 million weights would be drawn at random before a checkpoint overwrites them. Here the shape comes
from the folder too, and drawing is left out where weights follow.

    folder/ open_clip_config.json   architecture, mean and standard deviation
            config.json             of the BERT, where the text tower is one, or of a whole CLIP in the layout of
                                    transformers, as beside the weights that MedCLIP-SAMv2 publishes
            tokenizer.json ...      likewise
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.model import CustomTextCLIP
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers import BertConfig

from medclipsam.backbones.wordpieces import Unread
from medclipsam.errors import BadInput, MissingWeights

CONFIG = "open_clip_config.json"
SHAPE = "config.json"
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt")
"""One of them makes a BERT's tokenizer; without either, transformers would make an empty one and not say so."""
BERT_BASE = ("microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",)
"""Text towers whose shape is BERT-base, for a folder without `config.json`, such as BiomedCLIP's on the hub."""


def build(folder: Path, *, draw: bool = True) -> CustomTextCLIP:
    """The model that a folder describes, on the CPU, with no weights of its own.

    Args:
        folder: holds `open_clip_config.json`.
        draw: draw random weights from torch's default generator; without, the weights mean nothing until some are
            loaded, and the generator stays where it was.

    Raises:
        MissingWeights: the folder or its configuration is not there.
        BadInput: a configuration that open_clip cannot build.
    """
    with _text_shape(folder, _read_config(folder)["text"]) as text, _without_log(), _drawing(draw):
        try:
            network = open_clip.create_model(
                f"local-dir:{folder}",
                load_weights=False,
                pretrained_image=False,
                pretrained_text=False,
                force_custom_text=True,
                text_cfg=text,
            )
        except (RuntimeError, TypeError, ValueError, OSError) as error:
            raise BadInput(f"{CONFIG} describes no model that open_clip can build", str(error)) from error
    if not isinstance(network, CustomTextCLIP):
        raise BadInput(f"{CONFIG} describes a {type(network).__name__}", "use a CLIP with two towers")
    return network


class Tokenizer:
    """Words to ids and back, as the model was trained.

    Args:
        folder: an open_clip model; a BERT's tokenizer files lie in it, open_clip's own come with open_clip.

    Raises:
        MissingWeights: the folder lacks its configuration or the tokenizer's files.
        BadInput: those files are damaged.
    """

    def __init__(self, folder: Path) -> None:
        named = _read_config(folder)["text"].get("hf_tokenizer_name")
        if named and not any((folder / name).is_file() for name in TOKENIZER_FILES):
            remedy = f"put {' or '.join(TOKENIZER_FILES)} of {named} there"
            raise MissingWeights(f"{folder.name} lacks its tokenizer", remedy)
        with _without_log(), _with_bert_shape(folder) as readable:
            try:
                self._wrapped: HFTokenizer | SimpleTokenizer = open_clip.get_tokenizer(f"local-dir:{readable}")
            except Exception as error:  # transformers stumbles over damaged files in many ways
                raise BadInput(f"the tokenizer files in {folder.name} cannot be read", "get them again") from error

    def __call__(self, prompts: Sequence[str]) -> Tensor:
        """Prompts -> ids (n, context), padded at the end and cut where they are longer."""
        return self._wrapped(list(prompts))

    def unread(self, prompt: str) -> Unread | None:
        """What a call cuts off at the end of a prompt; None if nothing."""
        if isinstance(self._wrapped, HFTokenizer):
            length = len(self._wrapped.tokenizer(self._wrapped.clean_fn(prompt))["input_ids"])
        else:
            length = len(self._wrapped.encode(prompt)) + len(self.marks)
        context = self._wrapped.context_length or length
        return Unread(context, length - context) if length > context else None

    @property
    def marks(self) -> frozenset[int]:
        """The ids that are no words: start, end, padding."""
        inner = self._wrapped.tokenizer if isinstance(self._wrapped, HFTokenizer) else self._wrapped
        return frozenset(inner.all_special_ids)


_DRAWS = (Tensor.normal_, Tensor.uniform_, nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_)


class _ZerosForDraws(TorchFunctionMode):
    """Inside this context new weights are zeros instead of random numbers, which takes no time and no generator."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if func in _DRAWS:
            return nn.init.zeros_(args[0] if args else named["tensor"])
        return func(*args, **named)


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        raise MissingWeights(f"{folder.name} holds no {CONFIG}", "give the folder of an open_clip model")
    try:
        config = json.loads(path.read_text("utf-8"))["model_cfg"]
        return {"text": dict(config["text_cfg"]), "vision": dict(config["vision_cfg"])}
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{CONFIG} in {folder.name} is no open_clip configuration") from error


@contextmanager
def _text_shape(folder: Path, text: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The text tower's configuration with every name of the hub replaced by a local folder."""
    name = text.get("hf_model_name")
    if not name:
        yield text
    elif shape := _bert_of_clip(folder):
        with _saved(shape) as made:
            yield {**text, "hf_model_name": made, "hf_model_pretrained": False}
    elif (folder / SHAPE).is_file():
        yield {**text, "hf_model_name": str(folder), "hf_model_pretrained": False}
    elif name in BERT_BASE:
        with _saved(BertConfig()) as made:
            yield {**text, "hf_model_name": made, "hf_model_pretrained": False}
    else:
        raise MissingWeights(f"{folder.name} lacks {SHAPE} of {name}", "put it there")


@contextmanager
def _saved(shape: BertConfig) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as made:
        shape.save_pretrained(made)
        yield made


@contextmanager
def _with_bert_shape(folder: Path) -> Iterator[Path]:
    """The folder, or a copy of its small files whose `config.json` is the BERT's.

    Where no `tokenizer_config.json` says otherwise, transformers chooses the class of tokenizer by `config.json`:
    beside that of a whole CLIP it would take CLIP's, for the vocabulary of a BERT.
    """
    shape = _bert_of_clip(folder)
    if shape is None:
        yield folder
        return
    with _saved(shape) as made:
        for file in folder.iterdir():
            if file.suffix in (".json", ".txt") and file.name != SHAPE:
                shutil.copyfile(file, Path(made) / file.name)
        yield Path(made)


def _bert_of_clip(folder: Path) -> BertConfig | None:
    """The shape of the text tower, where `config.json` describes a whole CLIP with a BERT in it."""
    try:
        whole = json.loads((folder / SHAPE).read_text("utf-8"))
        text = whole.get("text_config") or whole.get("text_config_dict")
    except (OSError, ValueError, AttributeError):
        return None  # not there, or for open_clip to complain about
    if not isinstance(text, dict):
        return None
    known = BertConfig().to_dict().keys() - {"model_type", "transformers_version", "architectures"}
    return BertConfig(**{name: value for name, value in text.items() if name in known})


@contextmanager
def _drawing(draw: bool) -> Iterator[None]:
    if draw:
        yield
        return
    with torch.random.fork_rng(devices=[]), _ZerosForDraws():
        yield


@contextmanager
def _without_log() -> Iterator[None]:
    """open_clip warns in the root logger of weights that are still to come, and sets it up for the whole process."""
    handler, silence = logging.NullHandler(), logging.Filter("nothing of this name")
    logging.root.addHandler(handler)
    logging.root.addFilter(silence)
    try:
        yield
    finally:
        logging.root.removeFilter(silence)
        logging.root.removeHandler(handler)
