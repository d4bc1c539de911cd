"""A file of parameters that is one of several: its name says so, or the index that lies beside it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from modelarchive.exchange.bundle import Note

#: How Hugging Face numbers the files of a set, and Keras, whose index has the name without the number.
_NUMBERED: Final = re.compile(r"(.*)-(\d{5})-of-(\d{5})(\.[a-z]+)")
_KERAS: Final = re.compile(r"(.*)_\d{5}(\.weights)\.h5")


def told_of_the_others(path: str | os.PathLike[str]) -> list[Note]:
    """The note that a file is a part of a set; none if it is whole, as far as names tell."""
    place = Path(os.fsdecode(path))
    if (found := _NUMBERED.fullmatch(place.name)) is not None and int(found[3]) > 1:
        index = place.with_name(f"{found[1]}{found[4]}.index.json")
        what = f"is part {int(found[2])} of {int(found[3])} of a set, and holds the parameters of that part alone"
    elif (found := _KERAS.fullmatch(place.name)) is not None:
        index = place.with_name(f"{found[1]}{found[2]}.json")
        what = "is part of a set, and holds the parameters of that part alone"
        if not index.is_file():
            return []  # the number may count something else
    else:
        return []
    return [Note("(file)", f"{what}: {index.name} stands for all of them")]
