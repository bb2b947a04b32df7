"""Builds Segment Anything networks and loads published weights into them.

    square (B, 3, side, side) -> image encoder -> (B, 256, grid, grid) --+
    boxes, points -> prompt encoder -> (n, tokens, 256) -----------------+-> mask decoder -> logits, predicted IoU

The prompt encoder and the mask decoder are those of the segment-anything package for every model. The image encoder is
its plain ViT (Segment Anything, MedSAM) or the project's TinyViT (LiteMedSAM).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from medclipsam.backbones.sam_parts.image_encoder import ImageEncoderViT
from medclipsam.backbones.sam_parts.mask_decoder import MaskDecoder
from medclipsam.backbones.sam_parts.prompt_encoder import PromptEncoder
from medclipsam.backbones.sam_parts.transformer import TwoWayTransformer
from medclipsam.backbones.tinyvit import TinyViT
from medclipsam.errors import BadInput
from medclipsam.weights.loading import unfilled

WIDTH = 256
PATCH = 16
ENCODER = "image_encoder."


@dataclass(frozen=True, kw_only=True)
class VitShape:
    """The numbers that tell one plain ViT encoder from another (Kirillov et al., 2023, appendix A)."""

    width: int
    depth: int
    heads: int
    whole_image_blocks: tuple[int, ...]
    """0-based blocks that attend over the whole image; the others look into windows of 14 x 14."""
    side: int = 1024


VIT_B = VitShape(width=768, depth=12, heads=12, whole_image_blocks=(2, 5, 8, 11))
VIT_L = VitShape(width=1024, depth=24, heads=16, whole_image_blocks=(5, 11, 17, 23))
VIT_H = VitShape(width=1280, depth=32, heads=16, whole_image_blocks=(7, 15, 23, 31))


class SamNetwork(nn.Module):
    """The three parts, named as in Meta's checkpoints.

    Args:
        image_encoder: (B, 3, side, side) -> (B, 256, grid, grid).
        grid: edge of the embedding.
        side: edge of the square, in pixels.
    """

    def __init__(self, image_encoder: nn.Module, grid: int, side: int) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = PromptEncoder(
            embed_dim=WIDTH, image_embedding_size=(grid, grid), input_image_size=(side, side), mask_in_chans=16
        )
        self.mask_decoder = MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=WIDTH, mlp_dim=2048, num_heads=8),
            transformer_dim=WIDTH,
            iou_head_depth=3,
            iou_head_hidden_dim=256,
        )


def plain_vit(shape: VitShape) -> SamNetwork:
    """Segment Anything or MedSAM with random weights."""
    grid = shape.side // PATCH
    encoder = ImageEncoderViT(
        img_size=shape.side,
        patch_size=PATCH,
        embed_dim=shape.width,
        depth=shape.depth,
        num_heads=shape.heads,
        out_chans=WIDTH,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=14,
        global_attn_indexes=shape.whole_image_blocks,
    )
    return SamNetwork(encoder, grid, shape.side)


def load_plain_vit(shape: VitShape, state: Mapping[str, Tensor]) -> SamNetwork:
    """Segment Anything or MedSAM with the weights of a checkpoint in Meta's layout; the tensors are not copied.

    Raises:
        BadInput: the tensors belong to another model.
    """
    with unfilled():
        network = plain_vit(shape)
    try:
        network.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise BadInput(f"the checkpoint does not fit: {_first_problem(error)}") from error
    return network


def load_lite_medsam(state: Mapping[str, Tensor]) -> SamNetwork:
    """LiteMedSAM with the weights of `lite_medsam.pth`; the tensors are not copied.

    Raises:
        BadInput: the tensors belong to another model.
    """
    with unfilled():
        encoder = TinyViT()
        network = SamNetwork(encoder, grid=64, side=256)
    encoder_state = {name.removeprefix(ENCODER): value for name, value in state.items() if name.startswith(ENCODER)}
    rest = {name: value for name, value in state.items() if not name.startswith(ENCODER)}
    try:
        encoder.load_lite_medsam(encoder_state)
        network.load_state_dict({**rest, **network.image_encoder.state_dict(prefix=ENCODER)}, assign=True)
    except (RuntimeError, KeyError) as error:
        raise BadInput(f"the checkpoint does not fit: {_first_problem(error)}") from error
    return network


def _first_problem(error: Exception) -> str:
    """The first detail of torch's long list."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[min(1, len(lines) - 1)][:200]
