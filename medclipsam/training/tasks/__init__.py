"""Tasks of the training loop: what is trained, on what, and how well it does."""
