"""The layouts that CLIP weights come in, and which tensor of one is which of the other.

Users bring open_clip checkpoints, bare or from training, and the Hugging Face port of BiomedCLIP in which
MedCLIP-SAMv2 publishes its fine-tuned weights. One table says how names correspond; three tensors change their shape:

    open_clip                          Hugging Face port
    visual.trunk.cls_token (1,1,W)     vision_model.embeddings.class_embedding (W)
    visual.trunk.pos_embed (1,N,W)     vision_model.embeddings.position_embedding.weight (N,W)
    ...attn.qkv (3W,...)               ...self_attn.{q,k,v}_proj (W,...) each
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from medclipsam.errors import BadInput
from medclipsam.weights.loading import without_prefixes

State = dict[str, Tensor]

_VISION = "vision_model.encoder.layers.{n}."
_TEXT = "text_model.encoder.layers.{n}."
RENAMED: tuple[tuple[str, str], ...] = (
    ("visual.trunk.patch_embed.proj.", "vision_model.embeddings.patch_embedding."),
    ("visual.trunk.blocks.{n}.norm1.", _VISION + "layer_norm1."),
    ("visual.trunk.blocks.{n}.norm2.", _VISION + "layer_norm2."),
    ("visual.trunk.blocks.{n}.attn.proj.", _VISION + "self_attn.out_proj."),
    ("visual.trunk.blocks.{n}.mlp.fc1.", _VISION + "mlp.fc1."),
    ("visual.trunk.blocks.{n}.mlp.fc2.", _VISION + "mlp.fc2."),
    ("visual.trunk.norm.", "vision_model.post_layernorm."),
    ("visual.head.proj.", "visual_projection."),
    ("text.transformer.embeddings.word_embeddings.", "text_model.embeddings.token_embedding."),
    ("text.transformer.embeddings.position_embeddings.", "text_model.embeddings.position_embedding."),
    ("text.transformer.embeddings.token_type_embeddings.", "text_model.embeddings.token_type_embedding."),
    ("text.transformer.embeddings.LayerNorm.", "text_model.embeddings.layer_norm."),
    ("text.transformer.encoder.layer.{n}.attention.self.query.", _TEXT + "self_attn.q_proj."),
    ("text.transformer.encoder.layer.{n}.attention.self.key.", _TEXT + "self_attn.k_proj."),
    ("text.transformer.encoder.layer.{n}.attention.self.value.", _TEXT + "self_attn.v_proj."),
    ("text.transformer.encoder.layer.{n}.attention.output.dense.", _TEXT + "self_attn.out_proj."),
    ("text.transformer.encoder.layer.{n}.attention.output.LayerNorm.", _TEXT + "layer_norm1."),
    ("text.transformer.encoder.layer.{n}.intermediate.dense.", _TEXT + "mlp.fc1."),
    ("text.transformer.encoder.layer.{n}.output.dense.", _TEXT + "mlp.fc2."),
    ("text.transformer.encoder.layer.{n}.output.LayerNorm.", _TEXT + "layer_norm2."),
    ("text.proj.0.", "text_projection.fc1."),
    ("text.proj.2.", "text_projection.fc2."),
    ("logit_scale", "logit_scale"),
)
"""(open_clip, Hugging Face port); {n} is the number of the block, and the tail (weight, bias) stays."""

CLASS_TOKEN = ("visual.trunk.cls_token", "vision_model.embeddings.class_embedding")
POSITIONS = ("visual.trunk.pos_embed", "vision_model.embeddings.position_embedding.weight")
FUSED = "visual.trunk.blocks.{n}.attn.qkv."
SPLIT = tuple(_VISION + f"self_attn.{part}_proj." for part in "qkv")

UNPREFIXED_TEXT = ("transformer.", "token_embedding.", "positional_embedding", "ln_final.", "text_projection")
"""How the text tower's names start in open_clip models that keep it beside, not inside, `text.`."""


def to_open_clip(state: Mapping[str, Tensor]) -> State:
    """Bring a state dict of either layout to the names of open_clip's models with their text tower inside `text.`.

    Prefixes that wrappers put before every name are dropped, and so are buffers that newer versions compute.

    Raises:
        BadInput: a Hugging Face layout with a tensor that the table does not know.
    """
    known = {name: tensor for name, tensor in without_prefixes(state).items() if not name.endswith("position_ids")}
    if any(name.startswith("vision_model.") for name in known):
        return _from_hugging_face(known)
    return {f"text.{name}" if name.startswith(UNPREFIXED_TEXT) else name: tensor for name, tensor in known.items()}


def _from_hugging_face(state: Mapping[str, Tensor]) -> State:
    backwards = tuple((theirs, ours) for ours, theirs in RENAMED)
    converted: State = {}
    for name, tensor in state.items():
        if name == CLASS_TOKEN[1]:
            converted[CLASS_TOKEN[0]] = tensor.view(1, 1, -1)
        elif name == POSITIONS[1]:
            converted[POSITIONS[0]] = tensor[None]
        elif fused := _renamed(name, ((part, FUSED) for part in SPLIT)):
            converted[fused[0]] = torch.cat([_part(state, name, part) for part in "qkv"])
        else:
            converted[_one_name(name, backwards)] = tensor
    return converted


def _part(state: Mapping[str, Tensor], name: str, part: str) -> Tensor:
    """The query, key or value that belongs to one of the three."""
    wanted = re.sub(r"\.[qkv]_proj\.", f".{part}_proj.", name)
    if wanted not in state:
        raise BadInput(f"the weights lack {wanted}", "give a whole checkpoint")
    return state[wanted]


def _renamed(name: str, table: Iterable[tuple[str, str]]) -> list[str]:
    """What a name becomes by each row of the table that fits."""
    names = []
    for before, after in table:
        pattern = re.escape(before).replace(r"\{n\}", r"(?P<n>\d+)") + r"(?P<tail>\w*)"
        if match := re.fullmatch(pattern, name):
            parts = match.groupdict()
            names.append(after.replace("{n}", parts.get("n", "")) + parts["tail"])
    return names


def _one_name(name: str, table: Iterable[tuple[str, str]]) -> str:
    found = _renamed(name, table)
    if not found:
        raise BadInput(f"the weights hold {name}, which BiomedCLIP has not", "give a checkpoint of BiomedCLIP")
    return found[0]
