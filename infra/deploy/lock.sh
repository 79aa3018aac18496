#!/usr/bin/env bash
# Writes the lock files: every dependency of every platform, with its hashes, and no word about
# where they were downloaded from. Arguments go to `uv pip compile` (--upgrade).
set -euo pipefail
cd "$(dirname "$0")/../.."

compile() {
    .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" "$@"
}
compile pyproject.toml --output-file requirements/run.txt "$@"
compile pyproject.toml --extra dev --output-file requirements/dev.txt "$@"
compile pyproject.toml --extra dev --extra bench --output-file requirements/bench.txt "$@"
# The image: what running needs, with what traces need, in the versions that are tested.
compile pyproject.toml --extra otel --constraint requirements/dev.txt \
    --output-file requirements/image.txt "$@"
compile requirements/uv.in --output-file requirements/uv.txt "$@"
