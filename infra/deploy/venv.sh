#!/usr/bin/env bash
# Makes .venv from a hashed lock file, and does nothing when that has not changed since.
# usage: venv.sh run|dev|bench     PYTHON=/path/to/python chooses the interpreter
set -euo pipefail
cd "$(dirname "$0")/../.."

lock=requirements/$1.txt
digest() { cat requirements/uv.txt "requirements/$1.txt" | sha256sum | cut -d ' ' -f 1; }
is_current() {
    [ -x .venv/bin/python ] && [ "$(cat ".venv/.lock-$1" 2>/dev/null)" = "$(digest "$1")" ]
}

fail() { echo "adrelay: $*" >&2; exit 1; }

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null && fits "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    fail "needs Python 3.11, 3.12, 3.13 or 3.14 (found: $(python3 --version 2>&1 || true));" \
        "install one, or name it: make run PYTHON=/path/to/python3.12"
}

install_venv_package() {
    local version as_root=()
    version=$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || command -v sudo >/dev/null; } ||
        fail "$1 cannot make virtual environments; install $version (or: pip install virtualenv)"
    echo "adrelay: installing with apt: $version" >&2
    "${as_root[@]}" infra/deploy/services/apt.sh "$version" >/dev/null
}

make_venv() {
    local python
    python=$(find_python)
    rm -rf .venv
    if "$python" -c 'import ensurepip' 2>/dev/null; then
        "$python" -m venv .venv
    elif "$python" -m virtualenv --version >/dev/null 2>&1; then
        "$python" -m virtualenv --quiet .venv
    else
        install_venv_package "$python"
        "$python" -m venv .venv
    fi
}

# The command line runs the code of this checkout, whatever the current folder is.
write_command() {
    local draft=.venv/bin/.adrelay.$$
    cat >"$draft" <<'SCRIPT'
#!/bin/sh
bin=$(dirname "$0")
PYTHONPATH=$(CDPATH="" cd "$bin/../.." && pwd)${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH
exec "$bin/python" -P -m infra.commands "$@"
SCRIPT
    chmod +x "$draft"
    mv "$draft" .venv/bin/adrelay
}

# What development needs includes what running needs; the benchmark needs both and its peers.
is_enough() { is_current "$1" || is_current bench || { [ "$1" = run ] && is_current dev; }; }
if is_enough "$1"; then write_command; exit; fi

# Two commands at once (make run beside make test) make it one after the other.
mkdir -p .services && chmod 711 .services
exec 9>.services/venv.lock
if ! flock -n 9; then flock 9; fi

if is_enough "$1"; then write_command; exit; fi
if ! { [ -x .venv/bin/python ] && fits .venv/bin/python; }; then make_venv; fi
echo "adrelay: installing the Python packages of $lock" >&2
.venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps \
    --require-hashes -r requirements/uv.txt ||
    fail "pip could not install uv; if your packages come from an index of your own, name it:" \
        "PIP_INDEX_URL=<index> make run"
.venv/bin/python infra/deploy/uv_install.py "$lock"
digest "$1" >".venv/.lock-$1"
write_command
