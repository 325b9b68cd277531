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
        -q | --max-pending) ;;
        --per-client) ;;
        --per-client-pending) ;;
        --hold) _tftpd_reply -W 'never' ;;
        --keepalive-share) ;;
        --small-file) ;;
        -a | --listen) ;;
        --allow) ;;
        --deny) ;;
        -t | --timeout) ;;
        --drain) ;;
        -B | --max-blksize) ;;
        -W | --max-windowsize) ;;
        --refuse) _tftpd_reply -W 'blksize timeout tsize windowsize' ;;
        -u | --user) _tftpd_reply -u ;;
        -P | --pidfile) _tftpd_reply -f ;;
        *)
            if [[ $word == -* ]]; then
                _tftpd_reply -W '-r --root --public-only -n --max-transfers -q --max-pending --per-client --per-client-pending --hold --keepalive-share --small-file -a --listen -4 --ipv4 -6 --ipv6 --allow --deny -t --timeout --drain -B --max-blksize -W --max-windowsize --no-mtu-clamp --refuse -u --user --chroot --no-sandbox -b --background -P --pidfile --syslog -v --verbose -C --check -h --help -V --version'
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
