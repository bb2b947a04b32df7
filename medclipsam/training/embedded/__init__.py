"""Training of the embedded model: encodings -> task on the shared loop -> heads -> thresholds -> weights."""
