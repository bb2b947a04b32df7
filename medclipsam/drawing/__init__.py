"""Draws results for people: `overlay` with words, `thumbnail` for pages of many, by one `painter`."""
