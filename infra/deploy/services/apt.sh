#!/bin/sh
# Installs Debian or Ubuntu packages without starting their daemons: while the packages are
# set up, policy-rc.d says that no service may start (exit status 101). Whatever policy the
# machine had comes back in the end, also when the installation fails or is interrupted.
# usage: apt.sh PACKAGE...   (as root)
set -eu

policy=/usr/sbin/policy-rc.d
saved=$policy.before-adrelay

restore() {
    rm -f "$policy"
    if [ -e "$saved" ]; then mv "$saved" "$policy"; fi
}
if [ -e "$policy" ] && [ ! -e "$saved" ]; then mv "$policy" "$saved"; fi
trap restore EXIT
trap 'exit 130' HUP INT TERM
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"

export DEBIAN_FRONTEND=noninteractive
# Another apt may be at work (unattended upgrades): wait for it.
apt-get -qq -o DPkg::Lock::Timeout=300 update
apt-get -qq -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends "$@" </dev/null
