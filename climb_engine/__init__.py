"""CLIMB Studio's engine: a corpus goes in, a pre-training mixture comes out."""
