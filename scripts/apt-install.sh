#!/bin/sh
# Installs packages of Debian and its kin, without those that they recommend, and without starting what they serve; says on
# stderr what it does.
#
#   scripts/apt-install.sh PACKAGE…
#   scripts/apt-install.sh             # only renews the lists of packages
#
# Runs of it, by whichever user, take turns, and each looks first at what is left to do: the lists are renewed when nobody has
# done so for ten minutes, or when a package is not to be had with those that are there. For other programs that use apt it
# waits, ten minutes at most.
set -eu
# shellcheck source=scripts/installing.sh
. "$(dirname "$0")/installing.sh"

PATIENCE=600

# apt's own option is for dpkg's lock alone: those of the lists and of the archive fail at once.
apt_get() {
    until=$(($(date +%s) + PATIENCE))
    while :; do
        {
            as_root env LC_ALL=C DEBIAN_FRONTEND=noninteractive apt-get -q -o "DPkg::Lock::Timeout=$PATIENCE" "$@" \
                9<&- </dev/null 2>&1 && : >"$scratch/done"
        } | tee "$scratch/said" >&2
        [ ! -e "$scratch/done" ] || { rm "$scratch/done" && return; }
        grep -q -e 'Could not get lock' -e 'Unable to lock' "$scratch/said" && [ "$(date +%s)" -lt "$until" ] || return 1
        say 'another program uses apt: waiting for it'
        sleep 2
    done
}

# apt-get update writes there, also when it finds nothing new.
lists_are_fresh() { [ -n "$(find /var/lib/apt/lists/partial -prune -mmin -10 2>/dev/null)" ]; }
renew_lists() {
    say 'renewing the lists of packages'
    apt_get update || say 'that failed: going on with those that are there'
}

# Those of the packages that are not installed, or not as new as the lists have them.
wanting() {
    for package in "$@"; do
        LC_ALL=C apt-cache policy "$package" | awk -v package="$package" '
            $1 == "Installed:" { installed = $2 }
            $1 == "Candidate:" { candidate = $2 }
            END { if (installed == "" || installed == "(none)" || installed != candidate) print package }'
    done
}

# Debian's packages start what they serve, and PostgreSQL's makes a cluster of its own. Two files keep them from it, for this once. If a run
# is killed and leaves them, the policy forbids nothing any more, since its process is gone, and the next run removes both.
POLICY=/usr/sbin/policy-rc.d
MARK='# by scripts/apt-install.sh of pgchat'
NO_CLUSTER=/etc/postgresql-common/createcluster.d/pgchat-no-server.conf
policy_is_ours() { grep -qxF "$MARK" "$POLICY" 2>/dev/null; }
start_no_services() {
    trap 'allow_services; rm -rf "$scratch"' EXIT
    case "$*" in *postgresql*)
        as_root mkdir -p "${NO_CLUSTER%/*}"
        printf 'create_main_cluster = false\n' | as_root tee "$NO_CLUSTER" >/dev/null
        ;;
    esac
    # Somebody else's.
    if [ -e "$POLICY" ] && ! policy_is_ours; then return; fi
    # A process is known by its number and the time of its start.
    started=$(cut -d ' ' -f 22 "/proc/$$/stat")
    printf '#!/bin/sh\n%s\n[ "$(cut -d " " -f 22 /proc/%s/stat 2>/dev/null)" != %s ] || exit 101\n' "$MARK" "$$" "$started" |
        as_root tee "$POLICY" >/dev/null
    as_root chmod 755 "$POLICY"
}
allow_services() {
    if policy_is_ours; then as_root rm -f "$POLICY"; fi
    if [ -e "$NO_CLUSTER" ]; then as_root rm -f "$NO_CLUSTER"; fi
}

has apt-get || { say "there is no apt-get to install this: $*" && exit 1; }
take_turn /var/lib/apt
# Nobody else has the turn: what is there was left.
if may_be_root; then allow_services; fi
missing=$(wanting "$@")
if [ $# -gt 0 ] && [ -z "$missing" ]; then exit 0; fi
may_be_root || { say "needs root, or sudo without a password, to install this: $*" && exit 1; }

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
renewed=
if ! lists_are_fresh; then
    renew_lists
    renewed=1
fi
[ $# -gt 0 ] || exit 0
# shellcheck disable=SC2086  # a list of words
set -- $missing
say "installing with apt-get, without starting a service: $*"
start_no_services "$@"
install() { apt_get install -y --no-install-recommends "$@"; }
install "$@" || { [ -z "$renewed" ] && renew_lists && install "$@"; }
