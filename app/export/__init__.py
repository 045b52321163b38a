"""The mixture for training, and data sets drawn by it."""
