"""The splits that all kinds of data have, in the order in which they are written."""

SPLITS = ("train", "valid", "test")
