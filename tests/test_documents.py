"""The examples of README.md and docs/ run as they stand there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.documents import Runner, examples

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

#: Those whose examples take more than a second.
SLOW = {"README.md", "cli.md", "exchange.md", "look-at-a-file.md", "quickstart.md", "transplant.md"}

DOCUMENT = """\
```python
x = 1
```

```text
not an example
```

<!-- not run: it installs -->
```console
$ exit 9
```

<!-- needs: no_such_module -->
```python
import no_such_module
```
- in a list

  ```python
  >>> x + 1
  2
  ```
<!-- file: said.txt -->
```python
written, not run
```

```console
$ cat said.txt
written, not run
$ echo a \\
  b
a b
$ false  # exit 1
```
"""


# Of Keras' PyTorch backend, which is not ours.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
@pytest.mark.parametrize(
    "document",
    [pytest.param(each, marks=[pytest.mark.slow] if each.name in SLOW else []) for each in DOCUMENTS],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_examples_run(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    runner = Runner(folder)
    left_out = []
    for example in examples(document):
        if example.missing:
            left_out.append(f"line {example.line} needs {', '.join(example.missing)}")
            continue
        try:
            runner.run(example)
        except AssertionError:
            raise
        except Exception as problem:
            problem.add_note(f"in the example at {document.name}:{example.line}")
            raise
    if left_out:
        pytest.skip("; ".join(left_out))


def test_a_wrong_output_fails(tmp_path: Path) -> None:
    document = tmp_path / "wrong.md"
    for body in (
        "```python\n>>> 1 + 1\n3\n```",
        "```console\n$ echo one\ntwo\n```",
        "```console\n$ false\n```",
        "```python\nassert False\n```",
    ):
        document.write_text(body + "\n")
        folder = tmp_path / str(hash(body))
        folder.mkdir()
        found = list(examples(document))
        assert len(found) == 1
        with pytest.raises(AssertionError):
            Runner(folder).run(found[0])


def test_examples_are_found_and_share_a_namespace(tmp_path: Path) -> None:
    document = tmp_path / "right.md"
    document.write_text(DOCUMENT)
    found = list(examples(document))
    assert [(example.language, example.line, example.missing) for example in found] == [
        ("python", 2, []),
        ("python", 16, ["no_such_module"]),
        ("python", 21, []),
        ("python", 26, []),
        ("console", 30, []),
    ]
    folder = tmp_path / "folder"
    folder.mkdir()
    runner = Runner(folder)
    for example in found:
        if not example.missing:
            runner.run(example)
    assert runner.namespace["x"] == 1
