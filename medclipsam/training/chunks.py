r"""Trains on a batch that does not fit into memory, chunk by chunk, with the loss and gradients of the whole.

chunk 0 -> embeddings --\                      /--> encode chunk 0 again, its gradient
chunk 1 -> embeddings --> one loss of all rows ---> encode chunk 1 again, its gradient
(activations forgotten)                        (activations of one chunk at a time)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def in_chunks(encode: Callable[..., tuple[Tensor, ...]], inputs: tuple[Tensor, ...], size: int) -> tuple[Tensor, ...]:
    """Encode a batch `size` rows at a time, and have the loss and the gradients of the whole batch.

    A contrastive loss is no sum over its pairs: to add up the losses of small batches is to train with few negatives.
    So all embeddings are made first and activations are kept for none but one chunk; each is encoded a second time when
    its gradient is due (Gao et al., GradCache, 2021; here by torch's checkpointing, which repeats dropout as it was).
    Equal to the whole batch where no layer mixes the rows of a batch: no batch normalisation.

    Args:
        encode: rows of each input -> embeddings, tensors with as many rows.
        size: 0, or at least the number of rows, encodes all at once and nothing twice.
    """
    if not 0 < size < len(inputs[0]):
        return encode(*inputs)
    chunks = zip(*(rows.split(size) for rows in inputs), strict=True)
    parts = [checkpoint(encode, *chunk, use_reentrant=False) for chunk in chunks]
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))
