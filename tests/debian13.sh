#!/usr/bin/env bash
# Runs the suite, the demo and chaos on Debian 13: RabbitMQ 4, Postgres 17, Python 3.13.
#
# usage (as root): tests/debian13.sh [suite] [demo] [chaos]      all three without an argument
#
# It makes a Debian 13 root with debootstrap, from nothing, and copies this checkout into it. The
# archive and its proxy are those of this machine's apt, or MIRROR; pip is told what it is told here.
# Everything runs in a namespace of its own: when it ends, no process and no mount is left.
# The root stays in DEBIAN13 (/var/lib/adrelay-debian13) and is used again; remove it for a fresh one.
set -euo pipefail
cd "$(dirname "$0")/.."

root=${DEBIAN13:-/var/lib/adrelay-debian13}
suite=trixie
inside=/srv/adrelay

fail() { echo "adrelay: $*" >&2; exit 1; }

find_mirror() {
    apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' |
        head -1
}

# Values of pip's configuration that are folders of this machine: they are mounted at the same path.
find_pip_folders() {
    python3 -m pip config list | sed "s/^[^=]*='//; s/'$//" | tr ' ' '\n' | sed 's,^file://,,' |
        grep '^/' | sort -u | while read -r path; do
            while [ -n "$path" ] && [ ! -d "$path" ]; do path=${path%/*}; done
            [ -z "$path" ] || echo "$path"
        done
    for folder in /etc/pip.conf /etc/xdg/pip; do [ ! -e "$folder" ] || echo "$folder"; done
}

make_root() {
    local mirror=${MIRROR:-$(find_mirror)}
    [ -n "$mirror" ] || fail "no Debian archive in this machine's apt; name one: MIRROR=<URL>"
    command -v debootstrap >/dev/null || infra/deploy/services/apt.sh debootstrap >/dev/null
    rm -rf --one-file-system "$root.new" "$root"
    mkdir -p "$root.new"
    debootstrap --variant=minbase --include=ca-certificates,git,make,procps,python3-venv \
        "$suite" "$root.new" "$mirror"
    apt-config dump | grep -E '^Acquire::(Check-|https?::)' >"$root.new/etc/apt/apt.conf.d/99machine" || true
    cp -a /etc/apt/auth.conf.d/. "$root.new/etc/apt/auth.conf.d/"
    mv "$root.new" "$root"
}

copy_checkout() {
    mkdir -p "$root$inside"
    find "$root$inside" -mindepth 1 -maxdepth 1 ! -name .venv ! -name .services -exec rm -rf {} +
    git ls-files -z --cached --others --exclude-standard | xargs -0 -r sh -c \
        'for file; do [ ! -e "$file" ] || printf "%s\0" "$file"; done' sh |
        tar --create --null --no-recursion --files-from=- | tar --extract --directory "$root$inside"
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    cp -L /etc/hosts "$root/etc/hosts"
    cp -a /usr/local/share/ca-certificates/. "$root/usr/local/share/ca-certificates/"
    cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
}

# In the namespace: mounts, then the steps in the root.
enter() {
    mount --bind "$root" "$root"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs tmpfs "$root/dev/shm"
    mount -t tmpfs tmpfs "$root/tmp"
    mount -t proc proc "$root/proc"
    local folder
    find_pip_folders | sort -u | while read -r folder; do
        if [ -d "$folder" ]; then mkdir -p "$root$folder"; else mkdir -p "$root${folder%/*}"; touch "$root$folder"; fi
        mount --bind "$folder" "$root$folder"
    done
    local keep=() name
    for name in $(compgen -e | grep -E '^(PIP_|UV_|CHAOS_|NO_PROXY$|no_proxy$|.*_proxy$|.*_PROXY$)'); do
        keep+=("$name=${!name}")
    done
    exec chroot "$root" /usr/bin/env -i HOME=/root LANG=C.UTF-8 \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "${keep[@]}" \
        bash "$inside/tests/debian13.sh" --inside "$@"
}

run_steps() {
    cd "$inside"
    [ -d .git ] || { git init -q && git add -A && git -c user.name=a -c user.email=a@b commit -qm copy; }
    local step failed=()
    for step; do
        echo "== $step on Debian $(cat /etc/debian_version), $(python3 --version)"
        case $step in
        suite) make test ;;
        demo) make up && make demo && make down ;;
        chaos) make chaos CHAOS_SOAK_SECONDS="${CHAOS_SOAK_SECONDS:-60}" ;;
        *) fail "no such step: $step" ;;
        esac || failed+=("$step")
    done
    [ ${#failed[@]} = 0 ] || fail "failed on Debian 13: ${failed[*]}"
}

case ${1:-} in
--inside) shift; run_steps "$@"; exit ;;
--enter) shift; enter "$@" ;;
esac

[ "$(id -u)" = 0 ] || fail "debootstrap and chroot need root"
[ $# -gt 0 ] || set -- suite demo chaos
[ -d "$root" ] || make_root
copy_checkout
exec unshare --mount --propagation private --pid --fork --kill-child "$0" --enter "$@"
