"""Trains the embedded model further on its own pseudo-labels: views -> student -> the surer of it and its teacher."""
