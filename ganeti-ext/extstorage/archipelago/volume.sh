# shellcheck shell=sh
# What the scripts beside this one share: which stack, which volume, and how vlmc is asked.

set -eu
# Names are bytes. Ganeti gives no promise about the rest of the environment.
LC_ALL=C
PATH=${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}
export LC_ALL PATH

fail() {
    printf 'archipelago: %s\n' "$*" >&2
    exit 1
}

# What else a disk's parameters say.
if [ -n "${EXTP_CONFIG:-}" ]; then
    case $EXTP_CONFIG in
        /*) export ARCHIPELAGO_CONFIG="$EXTP_CONFIG" ;;
        *) fail "config=$EXTP_CONFIG is no absolute path" ;;
    esac
fi
# shellcheck disable=SC2034 # for create and verify
origin=${EXTP_ORIGIN:-${EXTP_SNAPSHOT:-}}
# shellcheck disable=SC2034 # for create
origin_size=${EXTP_ORIGIN_SIZE:-${EXTP_SNAPSHOT_SIZE:-}}

# The volume's name for a name of Ganeti's: the same, or a hash of it where the rules of docs/formats.md refuse it.
name() {
    hex='[0-9a-fA-F]'
    hex=$hex$hex$hex$hex
    hex=$hex$hex$hex$hex
    case $1 in
        */* | *[[:cntrl:]]* | archip_* | *_lock | *_$hex* | [bnli].$hex*) hashed "$1" ;;
        *) if [ "${#1}" -ge 6 ] && [ "${#1}" -le 82 ]; then printf '%s\n' "$1"; else hashed "$1"; fi ;;
    esac
}

hashed() {
    hash=$(printf '%s' "$1" | sha256sum)
    printf 'ganeti-%s\n' "${hash%% *}"
}

# shellcheck disable=SC2034 # for all of them
volume=$(name "${VOL_NAME:?is what Ganeti calls the volume}")

# Asks vlmc for something that may be so already, which it then tells by the words in $1.
unless() {
    words=$1
    shift
    said=$(vlmc "$@" 2>&1) && return
    case $said in
        *"$words"*) ;;
        *) printf '%s\n' "$said" >&2; return 1 ;;
    esac
}
