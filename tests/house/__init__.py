"""The house drawn from its imports: ``python -m tests.house``."""
