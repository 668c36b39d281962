"""Files and pixels: source tables, labels, splits, the beton file, batches. Knows nothing of training."""

import os

# pyarrow's own allocator keeps what a table took for the next one; the system's gives it back. Read as it is loaded.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
