"""Power cuts, kills and refusals at every call that changes a file: ``python -m tests.faults``."""
