"""Takes a checkpoint apart that the authors of MedCLIPSeg released: its adapters and head, and its frozen towers.

    pvl_adapters.K..., mask_head..., upscale...   trained parts, called as ours
    vision_model..., text_model..., logit_scale   open_clip's `visual`, `text` and `logit_scale`

The file is read by torch's `weights_only` reader, which takes tensors and plain containers alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from medclipsam.errors import BadInput
from medclipsam.networks.medclipseg.network import MedClipSeg

State = dict[str, Tensor]
TRAINED = {"pvl_adapters.": "pvl_adapters.", "mask_head.": "head.mask_head.", "upscale.": "head.upscale."}
TOWERS = {"vision_model.": "visual.", "text_model.": "text.", "logit_scale": "logit_scale"}
COMPUTED = "position_ids"
"""End of the name of a buffer that newer versions of transformers compute."""
UNIMEDCLIP = {
    "embed_dim": 512,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 16},
    "text_cfg": {
        "hf_model_name": "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",
        "hf_tokenizer_name": "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",
        "hf_proj_type": "mlp",
        "hf_pooler_type": "cls_last_hidden_state_pooler",
        "context_length": 256,
    },
}
"""UniMedCLIP ViT-B/16 as open_clip describes models (released code, open_clip_lib)."""
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
"""By which the released code normalises, whatever the towers were trained with."""


def taken_apart(state: Mapping[str, Tensor]) -> tuple[State, State]:
    """The trained parts by our names, and the towers by open_clip's.

    Raises:
        BadInput: a checkpoint of something else.
    """
    trained, towers = _renamed(state, TRAINED), _renamed(state, TOWERS)
    unknown = sorted(name for name in state if not name.startswith((*TRAINED, *TOWERS)))
    if not trained or unknown:
        example = f"it holds {unknown[0]}" if unknown else "it has no pvl_adapters"
        raise BadInput(f"this is no checkpoint of MedCLIPSeg: {example}", "give one that its authors released")
    return trained, towers


def fill_trained(network: MedClipSeg, trained: Mapping[str, Tensor]) -> None:
    """Give the trained parts their weights, all of them and no other; numbers without axes may have one.

    Raises:
        BadInput: weights of another size.
    """
    expected = network.state_dict()
    shaped = {
        name: value.reshape(expected[name].shape)
        if name in expected and value.numel() == expected[name].numel()
        else value
        for name, value in trained.items()
    }
    try:
        network.load_state_dict(shaped)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise BadInput(f"the checkpoint does not fit these settings: {first}", "check towers and layers") from error


def _renamed(state: Mapping[str, Tensor], table: Mapping[str, str]) -> State:
    return {
        ours + name.removeprefix(theirs): value
        for theirs, ours in table.items()
        for name, value in state.items()
        if name.startswith(theirs) and not name.endswith(COMPUTED)
    }
