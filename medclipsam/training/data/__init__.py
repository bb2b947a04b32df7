"""What a run learns from: tables, images, masks and captions read, varied, drawn and kept."""
