"""Every rule of docs/security.md has its attacks, by name, and those tests are there."""

from __future__ import annotations

import ast
import re

import pytest

from tests.conftest import ROOT

TESTS = ROOT / "tests"
DOCUMENT = (ROOT / "docs" / "security.md").read_text("utf-8")

#: Rule -> where its attacks are, as "file::beginning of the test's name". A rule without an attack is no rule.
ATTACKS: dict[str, tuple[str, ...]] = {
    "hard links only": (
        "hostile/test_hdf5_rules.py::test_external_link",
        "hostile/test_hdf5_rules.py::test_soft_link",
    ),
    "no external storage": ("hostile/test_hdf5_rules.py::test_external_storage",),
    "no virtual datasets": ("hostile/test_hdf5_rules.py::test_virtual_dataset",),
    "filters": (
        "hostile/test_hdf5_rules.py::test_unknown_filter",
        "hostile/test_hdf5_rules.py::test_filter_of_no_plug_in",
        "hostile/test_hdf5_rules.py::test_deflated_twice",
    ),
    "declared bytes": (
        "hostile/test_hdf5_rules.py::test_shape_bomb",
        "hostile/test_hdf5_rules.py::test_deflate_bomb",
        "hostile/test_naive_readers.py::test_zips_in_one_another",
    ),
    "depth": ("hostile/test_hdf5_rules.py::test_nesting",),
    "objects": ("hostile/test_hdf5_rules.py::test_too_many_objects",),
    "revisit": ("hostile/test_hdf5_rules.py::test_group_cycle", "hostile/test_hdf5_rules.py::test_groups_that_share"),
    "memory": (
        "hostile/test_hdf5_rules.py::test_one_string_many_times",
        "store/guarded/test_sandbox.py::test_memory_ends",
    ),
    "time": (
        "hostile/test_hdf5_rules.py::test_a_string_without_end",
        "store/guarded/test_boundary.py::test_silence",
        "store/guarded/test_sandbox.py::test_time_ends",
    ),
    "crash": (
        "store/guarded/test_boundary.py::test_a_parser_that_fails_for_real",
        "store/guarded/test_boundary.py::test_how_the_other_process_ended",
    ),
    "plain data": (
        "store/guarded/test_boundary.py::test_nonsense_is_refused",
        "store/guarded/test_boundary.py::test_contents_that_cannot_be",
    ),
    "pickle": (
        "hostile/test_naive_readers.py::test_a_pickle_in_a_torch_file",
        "hostile/test_pickle_rules.py::test_nothing_is_called",
    ),
    "size": ("hostile/test_onnx_rules.py::test_fields_are_counted",),
    "compression": ("exchange/torch/test_files.py::test_zip_bombs_are_refused",),
    "own folder only": (
        "hostile/test_naive_readers.py::test_shards_that_lie_elsewhere",
        "hostile/test_huggingface_rules.py::test_a_link_out_of_the_folder",
    ),
    "names": ("hostile/test_keras_rules.py::test_names_that_lead_out_of_the_file_are_refused",),
    "budget": (
        "exchange/test_budget.py::test_more_than_is_left",
        "hostile/test_onnx_rules.py::test_functions_do_not",
        "hostile/test_keras_bounds.py::test_a_model_that_is_written_out_again_and_again",
        "hostile/test_mxnet_rules.py::test_parameters_that_are_packed_twice_each_time",
    ),
    "sparse bytes": ("exchange/mxnet/test_ndarrays.py::test_a_sparse_bomb_is_refused",),
}

#: Attacks that no rule of its own answers, but an ordinary error: kind of attack -> where.
OTHERS: dict[str, tuple[str, ...]] = {
    "an index with impossible numbers": ("hostile/test_index_rules.py::test_refused",),
    "an index with a key twice": ("hostile/test_index_rules.py::test_a_key_twice",),
    "chunk tables with impossible numbers": ("hostile/test_chunk_rules.py::test_",),
    "an architecture that is too deep, too large, or none": ("architecture/test_hostile_literals.py::test_",),
    "one file, two models": ("hostile/test_two_stories.py::test_two_arrays_change_places",),
    "another file, a program, a connection": ("hostile/test_promises.py::test_no_other_file_is_read",),
    "a name that leaves the folder": (
        "hostile/test_hdf5_rules.py::test_names_are_no_paths_on_disk",
        "hostile/test_naive_readers.py::test_a_name_that_leaves_the_folder",
    ),
    "code in a Keras model": (
        "hostile/test_keras_rules.py::test_code_of_a_lambda_is_not_run",
        "hostile/test_keras_rules.py::test_classes_are_looked_up_in_a_table_only",
    ),
    "a pickle that is no torch file": ("hostile/test_naive_readers.py::test_a_pickle",),
}


def test_every_rule_has_an_attack() -> None:
    rules = set(re.findall(r"^\| `([^`]+)` \|", DOCUMENT, re.MULTILINE))
    assert rules == set(ATTACKS)


@pytest.mark.slow
def test_every_attack_is_there() -> None:
    for places in (*ATTACKS.values(), *OTHERS.values()):
        for place in places:
            file, _, begin = place.partition("::")
            tree = ast.parse((TESTS / file).read_text("utf-8"))
            found = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
            assert any(name.startswith(begin) for name in found), place
