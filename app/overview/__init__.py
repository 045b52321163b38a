"""Where a run stands, and how one begins."""
