# Sourced by the scripts that try what must not be tried on this machine: installing, starting by init or systemd,
# port 69. They run in namespaces of their own (processes, mounts, network), in trees that look like this machine:
# an overlay whose changes are in memory and gone with the script.
# Needs root, overlayfs, unshare and nsenter; machine_of_its_own says what is missing.
# shellcheck shell=bash

trees=0
tree=''    # the present one
init=''    # its systemd, as a process here
keeper=''  # who started that, and ends with it
scratch='' # in memory

# must_be_static BINARY   the trees, images and units that it is tried in have no libraries for it
must_be_static() {
    if [[ ! -x $1 ]] || readelf --program-headers "$1" 2> /dev/null | grep --quiet INTERP; then
        printf '%s: %s is not what scripts/build-static makes\n' "${0##*/}" "$1" >&2
        exit 2
    fi
}

# machine_of_its_own SCRIPT ARGUMENTS...   if that is possible here, calls the script's function outside, which has the
# network, and starts SCRIPT again, in namespaces; returns there only
machine_of_its_own() {
    local name=${1##*/}
    if [[ -n ${TFTPD_OWN_MACHINE:-} ]]; then
        scratch=$TFTPD_OWN_MACHINE
        # Until now it was a directory of the real machine.
        mount -t tmpfs tmpfs "$scratch"
        trap 'halt; drop_group' EXIT
        ip link set lo up
        return
    fi
    if ((EUID != 0)); then
        printf '%s: skipped: only root can have namespaces of its own\n' "$name" >&2
        exit 77
    fi
    local program
    for program in unshare nsenter ip ss curl pgrep perl; do
        if ! command -v "$program" > /dev/null; then
            printf '%s: skipped: no %s\n' "$name" "$program" >&2
            exit 77
        fi
    done
    scratch=$(mktemp --directory)
    local own=(unshare --mount --pid --fork --kill-child --mount-proc --uts --ipc --net) status=0
    # Is such a tree possible here?
    # shellcheck disable=SC2016 # $0 is the inner shell's
    if ! "${own[@]}" bash -c 'mount -t tmpfs tmpfs "$0" && mkdir "$0"/{u,w,t} \
        && mount -t overlay overlay -o lowerdir=/,upperdir="$0/u",workdir="$0/w" "$0/t" && [[ -x $0/t/usr/bin/env ]]' "$scratch"; then
        rmdir "$scratch"
        printf '%s: skipped: namespaces with an overlay of / cannot be made here\n' "$name" >&2
        exit 77
    fi
    outside
    TFTPD_OWN_MACHINE=$scratch "${own[@]}" "$@" || status=$?
    rmdir "$scratch"
    exit "$status"
}

# What is fetched stays in target: only a fresh clone asks for it.
packages=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}/unpacked")

# fetch_packages PACKAGE...   from Debian, each as $packages/PACKAGE.deb and unpacked in $packages/PACKAGE; never installed
fetch_packages() {
    local package is_fresh=''
    mkdir -p "$packages"
    for package in "$@"; do
        [[ ! -d $packages/$package ]] || continue
        if [[ -z $is_fresh ]] && ((EUID == 0)); then
            apt-get update --quiet --quiet > /dev/null 2>&1 || true
            is_fresh=yes
        fi
        if ! (
            set -e
            mkdir -p "$packages/$package.new"
            cd "$packages/$package.new"
            apt-get download --quiet --quiet -o APT::Sandbox::User=root "$package"
            mv "${package}"_*.deb "../$package.deb"
            dpkg-deb --extract "../$package.deb" .
            dpkg-deb --control "../$package.deb" DEBIAN
        ) > "$packages/complaint" 2>&1; then
            printf 'no package %s here: %s\n' "$package" "$(tail --lines=1 "$packages/complaint")"
            rm -rf "$packages/$package.new"
            continue
        fi
        mv "$packages/$package.new" "$packages/$package"
    done
}

# new_tree [LOWER]   sets tree: a copy of this machine, or of LOWER, without its units and without an account tftp
new_tree() {
    trees=$((trees + 1))
    local parts=$scratch/$trees
    tree=$parts/tree
    mkdir -p "$parts/upper" "$parts/work" "$tree"
    mount -t overlay overlay -o "lowerdir=${1:-/},upperdir=$parts/upper,workdir=$parts/work" "$tree"
    mount -t proc proc "$tree/proc"
    mount -t sysfs -o ro sysfs "$tree/sys"
    mount -t tmpfs -o mode=755 tmpfs "$tree/run"
    mount -t tmpfs tmpfs "$tree/tmp"
    mount -t tmpfs -o mode=755 tmpfs "$tree/dev"
    local device
    for device in null zero full random urandom tty; do
        : > "$tree/dev/$device"
        mount --bind "/dev/$device" "$tree/dev/$device"
    done
    ln -s /proc/self/fd "$tree/dev/fd"
    mkdir "$tree/dev/shm" "$tree/dev/pts"
    mount -t devpts -o newinstance,ptmxmode=666 devpts "$tree/dev/pts"
    ln -s pts/ptmx "$tree/dev/ptmx"
    mkdir -p "$tree/srv/tftp" "$tree/etc/systemd/system"
    mount -t tmpfs -o mode=755 tmpfs "$tree/etc/systemd/system"
    head --bytes=100000 /dev/urandom > "$tree/srv/tftp/file"
    chmod 644 "$tree/srv/tftp/file"
    leave_few_units
    sed --in-place '/^tftp:/d' "$tree/etc/passwd" "$tree/etc/group"
}

# add_account   tftp, as packages make it
add_account() {
    printf 'tftp:x:969:969::/srv/tftp:/usr/sbin/nologin\n' >> "$tree/etc/passwd"
    printf 'tftp:x:969:\n' >> "$tree/etc/group"
}

# leave_few_units   of this machine's, those that tests need
leave_few_units() {
    local units=$tree/lib/systemd/system kept=$scratch/$trees/units unit
    [[ -x $tree/lib/systemd/systemd ]] || return 0
    mkdir "$kept"
    for unit in sysinit basic sockets paths slices timers shutdown umount final exit local-fs local-fs-pre remote-fs \
        multi-user network network-online; do
        cp "$units/$unit.target" "$kept/"
    done
    for unit in exit.service journald.service journald.socket journald-dev-log.socket; do
        cp "$units/systemd-$unit" "$kept/"
    done
    cat > "$kept/default.target" << 'END'
[Unit]
Requires=basic.target systemd-journald.service
After=basic.target systemd-journald.service
Wants=systemd-journald-dev-log.socket
END
    mount -t tmpfs -o mode=755 tmpfs "$units"
    cp "$kept/"* "$units/"
}

# install_program BINARY   as packages do
install_program() {
    install -D --mode=755 "$1" "$tree/usr/sbin/tftpd"
    ln --symbolic --force tftpd "$tree/usr/sbin/in.tftpd"
}

# inside COMMAND...   in the tree, once it is booted
inside() {
    nsenter --target "$init" --mount --pid --uts --ipc --root "$@"
}

# eventually WHAT COMMAND...   asks again for 20 s until the command succeeds
eventually() {
    local what=$1 deadline=$((SECONDS + 20))
    shift
    until "$@"; do
        if ((SECONDS >= deadline)); then
            printf 'not within 20 s: %s\n' "$what" >&2
            return 1
        fi
        sleep 0.02
    done
}

# boot COMMAND...   as process 1 of the tree, with namespaces and a control group of its own
boot() {
    mkdir -p "$scratch/cgroup"
    mountpoint --quiet "$scratch/cgroup" || mount -t cgroup2 cgroup2 "$scratch/cgroup"
    group=$scratch/cgroup/tftpd-test-$trees-${scratch##*.}
    mkdir "$group"
    (
        printf '0\n' > "$group/cgroup.procs"
        # shellcheck disable=SC2016 # $0 is the inner shell's
        exec unshare --mount --pid --fork --kill-child --uts --ipc --cgroup bash -c '
            set -eu
            umount "$0/proc" "$0/sys"
            mount -t proc proc "$0/proc"
            mount -t sysfs sysfs "$0/sys"
            mount -t cgroup2 cgroup2 "$0/sys/fs/cgroup"
            # A root in which units can have mounts of their own, and that nobody takes for a chroot.
            cd "$0"
            mkdir old
            pivot_root . old
            umount --lazy old
            exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=tftpd "$@"' "$tree" "$@"
    ) > "$scratch/console" 2>&1 &
    keeper=$!
    eventually 'the tree has booted' has_init
}

# boot_shell   nothing but what cares for orphans, at runlevel 2
boot_shell() {
    perl -e 'print pack("s x2 i a32 a4 a32 a256 x52", 1, ord("N") * 256 + ord("2"), "~", "~~", "runlevel", "")' > "$tree/run/utmp"
    boot bash -c 'sleep infinity & wait'
}

# boot_systemd   the tree's own
boot_systemd() {
    boot /lib/systemd/systemd --log-target=journal --show-status=no
    eventually 'systemd has booted' has_booted || {
        cat "$scratch/console" >&2
        return 1
    }
}

has_init() {
    local below
    below=$(pgrep --parent "$keeper") || return 1
    # No longer in our root: the shell before it is.
    [[ $(readlink "/proc/$below/cwd") == / && $(stat --dereference --format=%d:%i "/proc/$below/root") == "$(stat --format=%d:%i "$tree")" ]] \
        && tr '\0' ' ' < "/proc/$below/cmdline" | grep --quiet --invert-match 'pivot_root' && init=$below
}

has_booted() {
    case $(inside systemctl is-system-running 2> /dev/null) in
        running | degraded) ;;
        *) return 1 ;;
    esac
}

# halt   the tree, and everything that it started
halt() {
    if [[ -n $keeper ]]; then
        kill -KILL "${init:-$keeper}" 2> /dev/null || true
        wait "$keeper" 2> /dev/null || true
        init=''
        keeper=''
        drop_group
    fi
}

group=''
drop_group() {
    if [[ -n $group ]]; then
        eventually 'the control group is empty' remove_group || true
        group=''
    fi
}

remove_group() {
    find "$group" -depth -type d -exec rmdir {} + 2> /dev/null || true
    [[ ! -d $group ]]
}

# fetches [ADDRESS]   the file of the tree from its server, by the first request: curl, patient as it is told to be, sends
# the next one after 5 s
# shellcheck disable=SC2120 # most trees have one address
fetches() {
    rm -f "$scratch/copy"
    timeout 4 curl --silent --show-error --max-time 60 --output "$scratch/copy" "tftp://${1:-127.0.0.1}/file"
    cmp "$tree/srv/tftp/file" "$scratch/copy"
}

# servers   the processes that are the server, as they are numbered here
servers() {
    local process
    for process in /proc/[0-9]*; do
        if [[ $(readlink "$process/exe" 2> /dev/null) == */usr/sbin/tftpd ]]; then
            printf '%s\n' "${process#/proc/}"
        fi
    done
}

# confined USER   there is one server; it is USER (a name, or "dynamic") and can do nothing beside serving
confined() {
    local server status uid wanted
    server=$(servers)
    if [[ $(wc -w <<< "$server") != 1 ]]; then
        printf 'one server was expected, there are: %s\n' "${server:-none}" >&2
        return 1
    fi
    status=$(< "/proc/$server/status")
    for wanted in 'NoNewPrivs: 1' 'Seccomp: 2' 'CapEff: 0000000000000000' 'CapPrm: 0000000000000000' \
        'CapAmb: 0000000000000000'; do
        if ! grep -q "^${wanted%% *}[[:space:]]*${wanted##* }$" <<< "$status"; then
            printf 'not so: %s\n%s\n' "$wanted" "$status" >&2
            return 1
        fi
    done
    uid=$(awk '$1 == "Uid:" { print $2, $3, $4, $5 }' <<< "$status")
    if [[ $1 == dynamic ]]; then
        wanted='61184 65519'
        [[ $(tr ' ' '\n' <<< "$uid" | sort --unique | wc -l) == 1 ]] && ((${uid%% *} >= 61184 && ${uid%% *} <= 65519)) && return
    else
        wanted=$(awk -F: -v name="$1" '$1 == name { print $3, $3, $3, $3 }' "$tree/etc/passwd")
        [[ $uid == "$wanted" ]] && return
    fi
    printf 'the server is user %s, expected %s (%s)\n' "$uid" "$wanted" "$1" >&2
    return 1
}

# no_servers   whether all have ended
no_servers() {
    [[ -z $(servers) ]]
}

# journal [WHICH...]   what the servers have logged there
# shellcheck disable=SC2120 # by default all of it
journal() {
    inside journalctl --quiet --no-pager --output=cat "$@"
}

# shows_in_journal TEXT
shows_in_journal() {
    # Read to its end: otherwise the writer would fail.
    journal | grep --fixed-strings -- "$1" > /dev/null
}

# ---- ways that are tried one after the other

passed=0
failed=0
skipped=0
only='' # words of the titles that are wanted

# try TITLE [NEEDED...] FUNCTION   one way, after the script's function prepare. NEEDED: packages that are unpacked,
# programs, or systemd
try() {
    local title=$1 needed function=${*: -1} status=0 server
    shift
    [[ $title == *"$only"* ]] || return 0
    for needed in "${@:1:$#-1}"; do
        [[ -d $packages/$needed ]] && continue
        [[ $needed == systemd && -x /lib/systemd/systemd ]] && continue
        [[ $needed != systemd ]] && command -v "$needed" > /dev/null && continue
        printf '%-66s skipped: no %s here\n' "$title" "$needed"
        skipped=$((skipped + 1))
        return
    done
    # Outside of any condition, so that the first failure ends the way.
    set +e
    (
        set -e
        trap '(($? == 0)) || tell_all; halt' EXIT
        prepare
        "$function"
    ) > "$scratch/told" 2>&1
    status=$?
    set -e
    if ((status == 0)); then
        printf '%-66s ok\n' "$title"
        passed=$((passed + 1))
    else
        printf '%-66s FAILED\n' "$title"
        sed 's/^/    /' "$scratch/told"
        failed=$((failed + 1))
    fi
    # What an init script started is in no control group.
    for server in $(servers); do
        kill -KILL "$server" 2> /dev/null || true
    done
    eventually 'all servers have ended' no_servers
    trees=$((trees + 1))
}

# tell_all   what was logged, after a failure
tell_all() {
    if [[ -n $init ]]; then
        inside journalctl --quiet --no-pager --output=short-monotonic | tail --lines=40 || true
    fi
}

# account NAME   the closing line, and the exit status
account() {
    printf '\n%s: %d passed, %d failed, %d skipped\n' "$1" "$passed" "$failed" "$skipped"
    ((failed == 0))
}
