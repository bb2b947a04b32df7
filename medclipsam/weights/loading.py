"""Reads tensors from files without running what is in them, and without copying them.

`.safetensors` holds nothing but tensors. Older formats (`.pth`, `.pt`, `.bin`) are pickles: torch's `weights_only`
reader takes tensors and plain containers and refuses everything else, so a file from a stranger cannot run code. Both
kinds are mapped into memory, so that what no model reads is never loaded; files of before torch 1.6 are read.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

from medclipsam.errors import BadInput

WRAPPERS = ("state_dict", "model")
PREFIXES = ("module.", "_orig_mod.", "model.")
"""What distributed training, compilation and trainers write before every name."""
_FILLS = (torch.Tensor.uniform_, torch.Tensor.normal_)


class unfilled(TorchFunctionMode):  # noqa: N801  (used as a statement: `with unfilled():`)
    """Make networks without drawing random weights, which `load_state_dict(..., assign=True)` then replaces.

    Memory that nobody writes costs nothing. `torch.device("meta")` would do, but its first random tensor loads 900
    modules of torch, in 2 s.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Leave a tensor as it is in place of filling it with random numbers; all else runs."""
        if func in _FILLS or getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def load_state(path: Path) -> dict[str, Tensor]:
    """Named tensors of a checkpoint, on the CPU.

    Args:
        path: a `.safetensors` file, or one that `torch.save` wrote: the tensors themselves, or a training checkpoint
            that holds them under `state_dict` or `model`.

    Raises:
        BadInput: the file is damaged, or holds anything but tensors by name.
    """
    state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    for wrapper in WRAPPERS:
        if isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not state or not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()):
        raise BadInput(f"{path.name} holds something other than tensors by name", "give a state dict")
    return dict(state)


def without_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by the names that the network itself gives them."""
    bare = dict(state)
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in bare):
            bare = {name.removeprefix(prefix): tensor for name, tensor in bare.items()}
    return bare


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise BadInput(f"{path.name} is not a whole safetensors file", "get it again") from error


def _read_pickle(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise BadInput(
            f"{path.name} is refused, because reading it could run code", "save its tensors as .safetensors"
        ) from error
    except Exception as error:  # over damaged bytes, torch's reader stumbles in a dozen ways
        raise BadInput(f"{path.name} is not a whole checkpoint ({type(error).__name__})", "get it again") from error
    if not isinstance(state, Mapping):
        raise BadInput(f"{path.name} holds a {type(state).__name__}, not tensors by name", "give a state dict")
    return dict(state)
