# Sourced by the scripts that need a running tftpd: starts one on a port of the
# kernel's choice, finds that port in the log, and ends it with the script.
# shellcheck shell=bash

server_pid=''
server_log=''
server_port=''

# start_server LOG COMMAND...   sets server_port, or fails and shows the log
start_server() {
    server_log=$1
    shift
    # The background job may create the file later than we first look into it.
    : > "$server_log"
    "$@" 2> "$server_log" &
    server_pid=$!
    local deadline=$((SECONDS + 20))
    while ((SECONDS < deadline)); do
        server_port=$(sed -n 's/^INFO *listening on 127\.0\.0\.1:\([0-9][0-9]*\)$/\1/p' "$server_log")
        if [[ -n $server_port ]]; then
            return 0
        fi
        if ! kill -0 "$server_pid" 2> /dev/null; then
            break
        fi
        sleep 0.02
    done
    printf 'the server did not come up: %s\n' "$*" >&2
    cat "$server_log" >&2
    return 1
}

# stop_server   SIGTERM, then waits; succeeds if the server ended with status 0
stop_server() {
    local pid=$server_pid
    server_pid=''
    kill -TERM "$pid" 2> /dev/null || true
    wait "$pid"
}

# discard_server   for the exit trap: whatever state things are in, nothing stays behind
discard_server() {
    if [[ -n $server_pid ]]; then
        kill -KILL "$server_pid" 2> /dev/null || true
        wait "$server_pid" 2> /dev/null || true
        server_pid=''
    fi
}
