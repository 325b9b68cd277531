# Completion of tftpd(8) for bash. Made from the option table by tests/completions.rs.

_tftpd() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    # bash takes --root=DIR for three words.
    [[ $word == '=' ]] && word=''
    [[ $before == '=' ]] && before=${COMP_WORDS[COMP_CWORD - 2]}
    COMPREPLY=()
    case $before in
        -r | --root) _tftpd_reply -d ;;
        -n | --max-transfers) ;;
        -a | --listen) ;;
        -u | --user) _tftpd_reply -u ;;
        -m | --map-file) _tftpd_reply -f ;;
        --map-steps) ;;
        --map-test) ;;
        --unique-root) ;;
        -q | --max-pending) ;;
        --per-client) ;;
        --per-client-pending) ;;
        --hold) _tftpd_reply -W 'never' ;;
        --keepalive-share) ;;
        --small-file) ;;
        --allow) ;;
        --deny) ;;
        --access) _tftpd_reply -f ;;
        --upload-dir) _tftpd_reply -d ;;
        --max-upload) ;;
        -U | --umask) ;;
        -t | --timeout) ;;
        -B | --max-blksize) ;;
        -W | --max-windowsize) ;;
        -R | --port-range) ;;
        --refuse) _tftpd_reply -W 'blksize timeout tsize windowsize' ;;
        --drain) ;;
        --lame-duck) ;;
        -P | --pidfile) _tftpd_reply -f ;;
        --log-format) ;;
        --stats) _tftpd_reply -f ;;
        --control) _tftpd_reply -f ;;
        --probe) ;;
        --probe-timeout) ;;
        *)
            if [[ $word == -* ]]; then
                _tftpd_reply -W '-r --root -n --max-transfers -a --listen -u --user -v --verbose -C --check -m --map-file --map-steps --map-test -i --ignore-case --unique-root -q --max-pending --per-client --per-client-pending --hold --keepalive-share --small-file -4 --ipv4 -6 --ipv6 --allow --deny --access -c --create -o --overwrite --write-once --upload-dir --max-upload -U --umask --public-only -t --timeout -B --max-blksize -W --max-windowsize --no-mtu-clamp -R --port-range --single-port --refuse --drain --lame-duck --chroot --no-sandbox -b --background -P --pidfile --syslog --log-format --stats --control --status --once --json --probe --probe-timeout -h --help -V --version'
            else
                _tftpd_reply -d
            fi
            ;;
    esac
}

_tftpd_reply() {
    [[ $1 == -[df] ]] && compopt -o filenames 2> /dev/null
    mapfile -t COMPREPLY < <(compgen "$@" -- "$word")
}

complete -F _tftpd tftpd
