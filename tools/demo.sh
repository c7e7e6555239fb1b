#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A mirrored disk on two files, a real file system on it, real files copied while the server is
# killed, and every byte still there. Called by ./dev demo; needs root for losetup and mount.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
export PATH="/usr/sbin:/usr/bin:/sbin:/bin:$PATH"

readonly GEMEL=${GEMEL_BUILD_DIR:-$PWD/build/release}/gemel
readonly TREE_BYTES_MAX=$((100 << 20))
SERVER="" COPY="" LOAD="" DEVICE="" FOLDER=""

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
    BOLD=$'\e[1;36m' DIM=$'\e[2m' GREEN=$'\e[1;32m' RED=$'\e[1;31m' PLAIN=$'\e[0m'
else
    BOLD="" DIM="" GREEN="" RED="" PLAIN=""
fi

step() { printf '\n%s== %s%s\n' "$BOLD" "$*" "$PLAIN"; }
note() { printf '   %s\n' "$*"; }
good() { printf '   %s%s%s\n' "$GREEN" "$*" "$PLAIN"; }
fail() {
    printf '%sdemo: %s%s\n' "$RED" "$*" "$PLAIN" >&2
    [[ -s $FOLDER/serve.log ]] && tail -n 20 "$FOLDER/serve.log" >&2
    exit 1
}
# Shows a command as one would type it, then runs it.
shown() {
    local text=$*
    printf '   %s$ %s%s\n' "$DIM" "${text//$GEMEL/gemel}" "$PLAIN"
    "$@"
}

# Leaves nothing behind, whenever the demo ends: also between the start of something and the note of
# its number, so everything is found by the folder's name. What is used by the next thing goes
# first, and the server last: the device below a file system must answer until it is unmounted.
clean_up() {
    local code=$?
    trap '' INT TERM HUP
    trap - EXIT
    set +e
    if [[ -n $FOLDER ]]; then
        pkill -KILL -f -- "(copy|load) $FOLDER\$|$FOLDER/(mnt|list)"
        if mountpoint -q "$FOLDER/mnt"; then
            revive_server
            unmount_patiently
        fi
        local device
        for device in $(attached_devices); do "$GEMEL" detach "$device" >/dev/null 2>&1; done
        find_server
        stop_server
        rm -rf "$FOLDER"
    fi
    exit "$code"
}

# Those that were attached to the demo's volume.
attached_devices() {
    grep -lsF -- "$FOLDER/" /run/gemel/attach-*/record | xargs -r sed -n 's/^device=//p'
}

find_server() { SERVER=$(pgrep -f -- "serve $FOLDER/twin.toml\$" | head -n 1); }
server_answers() {
    nbdinfo --size "nbd+unix:///twin?socket=$FOLDER/twin.nbd.sock" >/dev/null 2>&1
}

# The demo may have been interrupted after it had killed the server.
revive_server() {
    local tries
    for ((tries = 0; tries < 200; tries++)); do
        server_answers && return
        find_server
        [[ -n $SERVER ]] || start_server
        sleep 0.1
    done
}

# Killed processes may still be on their way out of the kernel.
unmount_patiently() {
    local tries
    for ((tries = 0; tries < 300; tries++)); do
        umount "$FOLDER/mnt" 2>/dev/null && return
        sleep 0.1
    done
    umount -l "$FOLDER/mnt"
}

check_machine() {
    ((EUID == 0)) || fail "attaching and mounting needs root: sudo ./dev demo"
    [[ -x $GEMEL ]] || fail "$GEMEL is not there: ./dev build makes it"
    [[ -e /dev/nbd0 || -e /dev/fuse ]] || fail "neither /dev/nbd0 nor /dev/fuse is there"
}

# In a session of its own: an interrupt from the keyboard is for the demo, which needs the server
# until the file system is unmounted.
start_server() {
    setsid "$GEMEL" serve "$FOLDER/twin.toml" >>"$FOLDER/serve.log" 2>&1 &
    SERVER=$!
    disown "$SERVER"
}

stop_server() {
    [[ -n $SERVER ]] && kill "$SERVER" 2>/dev/null || return 0
    local tries
    for ((tries = 0; tries < 300; tries++)); do
        kill -0 "$SERVER" 2>/dev/null || break
        sleep 0.1
    done
    kill -9 "$SERVER" 2>/dev/null || true
    SERVER=""
}

# Until it answers, not until it has made its socket.
wait_for_server() {
    local tries
    for ((tries = 0; tries < 600; tries++)); do
        server_answers && return
        kill -0 "$SERVER" 2>/dev/null || fail "the server ended"
        sleep 0.1
    done
    fail "the server does not serve"
}

# A real tree: thousands of files of this machine, listed relative to /.
choose_tree() {
    find /usr/include /usr/share/doc /usr/lib/python3 -type f -printf '%s %p\n' 2>/dev/null |
        awk -v max="$TREE_BYTES_MAX" '
            { total += $1; sub(/^[0-9]+ \//, ""); if (total <= max && NR <= 9000) print }' \
            >"$FOLDER/list"
    (cd / && xargs -d '\n' sha256sum <"$FOLDER/list") >"$FOLDER/hashes"
}

# 0 if every file under $1 is there with its content.
tree_is_whole() { (cd "$1" && sha256sum --quiet --check "$FOLDER/hashes"); }

# With its process group's id in COPY.
start_copy() {
    setsid sh -c 'tar -C / -cf - -T "$1/list" | tar -C "$1/mnt" -xf - && sync -f "$1/mnt"' \
        copy "$FOLDER" &
    COPY=$!
}

kill_and_restart() {
    local old=$SERVER
    note "kill -9 $old, the server, with writes on their way; a new one starts at once"
    kill -9 "$old"
    start_server
    wait_for_server
    good "served again by process $SERVER"
}

# Keeps the log from running empty.
start_load() {
    setsid sh -c 'while :; do dd if=/dev/zero of="$1/mnt/load" bs=64k count=16 conv=fsync; done' \
        load "$FOLDER" >/dev/null 2>&1 &
    LOAD=$!
}

stop_load() {
    [[ -n $LOAD ]] || return 0
    kill -- "-$LOAD" 2>/dev/null || true
    wait "$LOAD" 2>/dev/null || true
    LOAD=""
}

# inject STRUCTURE COUNT: garbage over so many places of one member, of the running volume.
inject() {
    printf '   %s$ gemel inject a.img --into %s --kind garbage --count %s%s\n' \
        "$DIM" "$1" "$2" "$PLAIN"
    "$GEMEL" inject "$FOLDER/a.img" --into "$1" --kind garbage --count "$2" --seed 7 \
        >"$FOLDER/damage.json" || fail "nothing could be damaged"
}

damage_one_member() {
    step "One member is damaged on purpose, under load; then everything is read"
    start_load
    sleep 0.5
    inject data 500
    inject checksum 20
    inject index 1
    inject superblock 1
    inject log 5
}

main() {
    check_machine
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    FOLDER=$(mktemp -d "${TMPDIR:-/var/tmp}/gemel-demo.XXXXXX")
    mkdir "$FOLDER/mnt"

    step "One virtual disk of 1 GiB, kept twice"
    shown "$GEMEL" create twin --size 1G --member "$FOLDER/a.img" --member "$FOLDER/b.img" \
        --log-size 64M --dir "$FOLDER"
    printf '   %s$ gemel serve %s &%s\n' "$DIM" "$FOLDER/twin.toml" "$PLAIN"
    start_server
    wait_for_server

    step "A block device with a file system, as on any disk"
    DEVICE=$("$GEMEL" attach "$FOLDER/twin.toml")
    printf '   %s$ gemel attach %s%s\n   %s\n' "$DIM" "$FOLDER/twin.toml" "$PLAIN" "$DEVICE"
    shown mkfs.ext4 -q -F "$DEVICE"
    shown mount "$DEVICE" "$FOLDER/mnt"

    step "A real tree is copied while the server is killed, twice"
    choose_tree
    note "$(wc -l <"$FOLDER/list") files of this machine, hashed before they are copied"
    start_copy
    sleep 1.5
    kill_and_restart
    sleep 1
    kill_and_restart
    wait "$COPY" || fail "the copy failed"
    COPY=""
    good "the copy went on to its end; no error reached it"

    step "Is everything there?"
    shown umount "$FOLDER/mnt"
    shown e2fsck -f -n "$DEVICE" || fail "the file system is damaged"
    shown mount "$DEVICE" "$FOLDER/mnt"
    damage_one_member
    tree_is_whole "$FOLDER/mnt" || fail "files are missing or changed"
    good "every file has the content it had at its source"
    stop_load
    shown "$GEMEL" scrub "$FOLDER/twin.toml" --wait || fail "the scrub found what it cannot heal"
    shown "$GEMEL" scrub "$FOLDER/twin.toml" --wait
    good "the second one found nothing: all damage is healed"

    step "The volume"
    shown "$GEMEL" status "$FOLDER/twin.toml"

    step "An orderly end: both members hold the same bytes"
    umount "$FOLDER/mnt"
    shown "$GEMEL" detach "$DEVICE"
    DEVICE=""
    stop_server
    local home
    home=$("$GEMEL" inspect "$FOLDER/a.img" --json |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["home_offset"])')
    shown cmp -i "$home" "$FOLDER/a.img" "$FOLDER/b.img" || fail "the members differ"
    note "each is also a plain image: mount -o ro,loop,offset=$home a.img works without Gemel"
    good "The demo is over. Nothing was lost; nothing is left behind."
}

main "$@"
