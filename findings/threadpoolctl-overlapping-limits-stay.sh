#!/usr/bin/env bash
# threadpoolctl 3.8.0, numpy 2.4.6 (its own OpenBLAS), Python 3.11
#
# Two threads each run a block under `threadpool_limits(1, user_api="blas")`, the second beginning before the first
# ends and ending after it, as two requests of a server do. When both blocks are left OpenBLAS keeps to one thread for
# the rest of the process: the second found 1 when it began, and restores that, after the first has restored 4. Which
# thread owns the limit (new in 3.8) does not help: the first has given it up by then.
#
# One would have guessed that the number of threads is what it was when nobody asks for a limit any more.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet threadpoolctl==3.8.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import threading

import numpy  # loads OpenBLAS
from threadpoolctl import ThreadpoolController, threadpool_limits

blas = ThreadpoolController().select(user_api="blas")


def numbers():
    return [each["num_threads"] for each in blas.info()]


for library in blas.lib_controllers:
    library.set_num_threads(4)
    library.clear_controlling_thread()
first_begun, second_begun, first_ended = threading.Event(), threading.Event(), threading.Event()


def first():
    with threadpool_limits(1, user_api="blas"):
        first_begun.set()
        second_begun.wait()
    first_ended.set()


def second():
    first_begun.wait()
    with threadpool_limits(1, user_api="blas"):
        second_begun.set()
        first_ended.wait()


before = numbers()
threads = [threading.Thread(target=each) for each in (first, second)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
after = numbers()
print(f"threads of BLAS before: {before}, after both limits are lifted: {after}")
assert (before, after) == ([4], [1]), (before, after)
PY
