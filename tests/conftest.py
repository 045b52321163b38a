"""Settings and small real things that several test files share."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the suite runs one process per core
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
