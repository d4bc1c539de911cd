"""What a transplant copied, as a value that prints as a table."""

from __future__ import annotations

from dataclasses import dataclass, field

from modelarchive import markup
from modelarchive.tables import aligned


@dataclass(frozen=True)
class Transplant:
    """What a transplant copied, or would copy; prints as a table.

    Attributes:
        copied: Target name -> (source name, how: "whole", "whole, float16 to float32", "overlap (2, 3) of (4, 3)",
            "7 of 9 rows by word", "bicubic 14 x 14 to 16 x 16").
        missing: Target parameters that nothing was copied into.
        unexpected: Selected source parameters for which the target has no place (after renaming).
        mismatched: Target name -> (expected, found), in words; skipped ones with ``mismatch="skip"``.
        frozen: Target parameters made not trainable.
        notes: What else happened on the way, such as a wrapper's prefix that was taken off.
        dry_run: Whether the target was left as it was.
    """

    copied: dict[str, tuple[str, str]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: dict[str, tuple[str, str]] = field(default_factory=dict)
    frozen: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    dry_run: bool = False

    def rows(self) -> list[tuple[str, str, str, str]]:
        """(target, state, source, note) for every parameter concerned."""
        frozen = set(self.frozen)
        found = [
            (name, "frozen" if name in frozen else "copied", source, how) for name, (source, how) in self.copied.items()
        ]
        found += [
            (name, "mismatched", "", f"expected {expected}, found {got}")
            for name, (expected, got) in self.mismatched.items()
        ]
        skipped = set(self.mismatched)
        found += [(name, "kept", "", "nothing selected for it") for name in self.missing if name not in skipped]
        return found + [("", "unexpected", name, "the target has no such parameter") for name in self.unexpected]

    def _repr_html_(self) -> str:
        """The same table, for a notebook."""
        head = ("target", "state", "source", "note")
        return markup.table(head, self.rows(), below="; ".join([self._total(), *self.notes]))

    def _total(self) -> str:
        verb = "would be copied" if self.dry_run else "copied"
        return (
            f"{len(self.copied)} {verb}, {len(self.frozen)} frozen, {len(self.mismatched)} mismatched, "
            f"{len(self.missing)} kept, {len(self.unexpected)} unexpected"
        )

    def __str__(self) -> str:
        """A table."""
        header = ("target", "state", "source", "note")
        lines = aligned([header, *self.rows()])
        lines.append(self._total())
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])
