//! The front door `tftpd`: its options, what they change, and sentences for people who know another server.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use getopts::Fail;

use super::Takes::{Asks, Nothing, Path, Probes, Text};
use super::arguments::{self, Names};
use super::{Command, Flag, Takes, help};
use crate::access::Verdict;
use crate::config::{self, Families, Form, Look, Ports, Probe, Settings};

/// What a command line asks for, unless it asks to serve; the last counts most.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Request {
    Check,
    Show(Form),
    Version,
    Help,
}

/// Every option there is: how it is spelled, what it does, and the words for it. [`help`] puts titles between them.
pub const OPTIONS: &[Flag] = &[
    option(
        "-r, --root DIR",
        Path(|to, path| config::root(&mut to.roots, path)),
        "directory to serve; DIR alone means the same; repeatable",
    )
    .repeatable(),
    option(
        "-n, --max-transfers N",
        Text(|to, text| set(&mut to.limits.max_transfers, text, config::MAX_TRANSFERS)),
        "transfers at full speed at a time (slots)",
    )
    .default("32"),
    option(
        "-a, --listen ADDR[:PORT]",
        Text(|to, text| config::listen(&mut to.listen, text)),
        "address to listen on; :PORT is every address; repeatable",
    )
    .default("[::]:69")
    .repeatable(),
    option(
        "-u, --user USER[:GROUP]",
        Text(|to, text| config::user_name(text).map(|it| to.user = Some(it))),
        "user to switch to when started as root, by name or number",
    )
    .default("tftp, else nobody"),
    option(
        "-v, --verbose",
        Nothing(|to| to.verbosity += 1),
        "log more; -vv: libraries, too; overrides RUST_LOG",
    )
    .repeatable(),
    option(
        "-C, --check",
        Asks(Request::Check),
        "check the options and every file below DIR, then exit",
    ),
    option(
        "-m, --map-file FILE",
        Path(|to, path| config::map_file(path).map(|path| to.names.map = Some(path))),
        "rewrite and refuse names by the rules of FILE",
    ),
    option(
        "--map-steps N",
        Text(|to, text| set(&mut to.names.map_steps, text, config::MAP_STEPS)),
        "rules that are tried for one request",
    )
    .default("4096"),
    option(
        "--map-test NAME[,ADDR][,put]",
        Path(|to, path| {
            to.map_tests.push(path.as_os_str().as_bytes().into());
            Ok(())
        }),
        "print what the map makes of NAME, then exit; -: standard input; repeatable",
    )
    .repeatable(),
    option(
        "-i, --ignore-case",
        Nothing(|to| to.names.ignores_case = true),
        "let letters match in either case if the exact name is not there",
    ),
    option(
        "--unique-root ip|mac",
        Text(|to, text| config::unique(text).map(|it| to.names.unique = Some(it))),
        "serve a client from its own directory below DIR, if there is one",
    ),
    option(
        "-q, --max-pending N",
        Text(|to, text| {
            to.queue_is_chosen = true;
            set(&mut to.limits.max_pending, text, config::MAX_PENDING)
        }),
        "requests that may wait; more are dropped",
    )
    .default("20000"),
    option(
        "--per-client N",
        Text(|to, text| {
            to.limits.spares_loopback = false;
            set(&mut to.limits.per_client, text, config::PER_CLIENT)
        }),
        "transfers of one client address at a time",
    )
    .default("8; loopback: unlimited"),
    option(
        "--per-client-pending N",
        Text(|to, text| {
            to.limits.spares_loopback = false;
            set(
                &mut to.limits.per_client_pending,
                text,
                config::PER_CLIENT_PENDING,
            )
        }),
        "requests of one client address that may wait",
    )
    .default("32; loopback: unlimited"),
    option(
        "--hold SECONDS|never",
        Text(|to, text| config::hold(text).map(|it| to.limits.hold = it)),
        "answer a client that waits this long, and keep it alive",
    )
    .default("1"),
    option(
        "--keepalive-share PERCENT",
        Text(|to, text| {
            set(
                &mut to.limits.keepalive_share,
                text,
                config::KEEPALIVE_SHARE,
            )
        }),
        "share of the output for clients that are kept alive",
    )
    .default("10"),
    option(
        "--small-file BYTES",
        Text(|to, text| set(&mut to.limits.small_file, text, config::SMALL_FILE)),
        "reserve slots for files up to this size; 0: reserve none",
    )
    .default("131072"),
    option(
        "-4, --ipv4",
        Nothing(|to| to.families = with(to.families, Families::V4)),
        "listen on IPv4 addresses only",
    ),
    option(
        "-6, --ipv6",
        Nothing(|to| to.families = with(to.families, Families::V6)),
        "listen on IPv6 addresses only",
    ),
    option(
        "--allow CIDR",
        Text(|to, text| to.rules.access.add(text, Verdict::Allow)),
        "serve this network and no others; repeatable",
    )
    .repeatable(),
    option(
        "--deny CIDR",
        Text(|to, text| to.rules.access.add(text, Verdict::Deny)),
        "never answer this network; repeatable",
    )
    .repeatable(),
    option(
        "--access FILE",
        Path(|to, path| keep(&mut to.access_file, path)),
        "read more networks from FILE, read again on SIGHUP",
    ),
    option(
        "-c, --create",
        Nothing(|to| to.uploads.create = true),
        "let clients write new files and replace existing ones",
    ),
    option(
        "-o, --overwrite",
        Nothing(|to| to.uploads.overwrite = true),
        "let clients replace existing files",
    ),
    option(
        "--write-once",
        Nothing(|to| to.uploads.write_once = true),
        "with -c: never replace a file",
    ),
    option(
        "--upload-dir DIR",
        Path(|to, path| config::upload_directory(&mut to.uploads.directories, path)),
        "write below this directory only; repeatable",
    )
    .default("-r DIR")
    .repeatable(),
    option(
        "--max-upload BYTES",
        Text(|to, text| set(&mut to.uploads.max, text, config::MAX_UPLOAD)),
        "refuse larger files",
    )
    .default("no limit"),
    option(
        "-U, --umask MASK",
        Text(|to, text| config::umask(text).map(|mask| to.uploads.umask = mask)),
        "mode bits that a new file does not get, in octal",
    )
    .default("022"),
    option(
        "--public-only",
        Nothing(|to| to.public_only = true),
        "serve only files that others may read, replace only o+w",
    ),
    option(
        "-t, --timeout SECONDS",
        Text(|to, text| config::seconds(text, config::TIMEOUT).map(|it| to.limits.patience = it)),
        "give up a transfer after this time without progress",
    )
    .default("35"),
    option(
        "-B, --max-blksize N",
        Text(|to, text| set(&mut to.limits.terms.max_blksize, text, config::MAX_BLKSIZE)),
        "largest block size granted, in bytes",
    )
    .default("65464"),
    option(
        "-W, --max-windowsize N",
        Text(|to, text| {
            set(
                &mut to.limits.terms.max_windowsize,
                text,
                config::MAX_WINDOWSIZE,
            )
        }),
        "largest window granted, in blocks",
    )
    .default("64"),
    option(
        "--no-mtu-clamp",
        Nothing(|to| to.mtu_clamp = false),
        "grant block sizes that need IP fragments",
    ),
    option(
        "-R, --port-range A:B",
        Text(|to, text| config::port_range(text).map(|range| to.ports = range)),
        "ports for transfers; some share one if there are too few",
    )
    .default("any"),
    option(
        "--single-port",
        Nothing(|to| to.ports = Ports::Single),
        "transfer over the port listened on: for NAT and containers",
    ),
    option(
        "--refuse OPTION",
        Text(|to, text| config::refuse(&mut to.limits.terms.refused, text)),
        "never grant this TFTP option; repeatable",
    )
    .repeatable(),
    option(
        "--drain SECONDS",
        Text(|to, text| config::seconds(text, config::DRAIN).map(|it| to.rules.drain = it)),
        "time for running transfers to finish after SIGTERM",
    )
    .default("3"),
    option(
        "--lame-duck SECONDS",
        Text(|to, text| config::seconds(text, config::LAME_DUCK).map(|it| to.rules.lame_duck = it)),
        "before that, serve on without answering probes",
    )
    .default("0"),
    option(
        "--chroot",
        Nothing(|to| to.chroot = true),
        "change the root directory to DIR; needs root",
    ),
    option(
        "--no-sandbox",
        Nothing(|to| to.sandbox = false),
        "confine neither file access (Landlock) nor system calls (seccomp)",
    ),
    option(
        "-b, --background",
        Nothing(|to| to.background = true),
        "leave the terminal and log to syslog",
    ),
    option(
        "-P, --pidfile FILE",
        Path(|to, path| keep(&mut to.pidfile, path)),
        "write the process number to FILE",
    ),
    option(
        "--syslog",
        Nothing(|to| to.syslog = true),
        "log to syslog instead of standard error",
    ),
    option(
        "--log-format text|json",
        Text(|to, text| config::log_format(text).map(|it| to.log_format = it)),
        "lines of the log in words, or as one JSON object each",
    )
    .default("text"),
    option(
        "--stats FILE",
        Path(|to, path| keep(&mut to.stats, path)),
        "write statistics for Prometheus to FILE",
    ),
    option(
        "--control FILE",
        Path(|to, path| keep(&mut to.control, path)),
        "answer GET /status and /metrics at this UNIX socket",
    ),
    option(
        "--status",
        Asks(Request::Show(Form::Live)),
        "show a running server: tftpd --status [FILE], the socket of --control",
    )
    .default("/run/tftpd.sock"),
    option(
        "--once",
        Asks(Request::Show(Form::Once)),
        "the same once, as text",
    ),
    option(
        "--json",
        Asks(Request::Show(Form::Json)),
        "the same once, as JSON",
    ),
    option(
        "--probe ADDR[:PORT]",
        Probes(|to, text| config::probe_address(text).map(|it| to.server = it)),
        "ask a server whether it serves: tftpd --probe ADDR [NAME]",
    ),
    option(
        "--probe-timeout SECONDS",
        Probes(|to, text| config::seconds(text, config::PROBE_TIMEOUT).map(|it| to.timeout = it)),
        "wait this long for the answer",
    )
    .default("2"),
    option("-h, --help", Asks(Request::Help), "print this help"),
    option("-V, --version", Asks(Request::Version), "print the version"),
];

/// Long names of tftpd-hpa: each means the same as one of ours, or what is done anyway.
const ALIASES: [(Names, &str); 5] = [
    (Names("--address ADDR"), "listen"),
    (Names("--blocksize N"), "max-blksize"),
    (Names("--windowsize N"), "max-windowsize"),
    (Names("--secure"), ""),
    (Names("--foreground"), ""),
];

/// What an unknown option means elsewhere.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "s",
        "tftpd-hpa's -s DIR is -r DIR here; or call this program in.tftpd",
    ),
    (
        "l",
        "tftpd-hpa's -l is -b here; or call this program in.tftpd",
    ),
    ("L", "tftpd-hpa's -L is the default here"),
    ("p", "tftpd-hpa's -p is the default here"),
    ("maxthread", "atftpd's --maxthread is -n here"),
    ("daemon", "atftpd's --daemon is -b here"),
    ("no-fork", "atftpd's --no-fork is the default here"),
    ("port", "the port is a part of the address: -a :69"),
    ("d", "the directory is -r DIR here"),
    ("directory", "the directory is -r DIR here"),
];

/// The row of the table with this long name.
fn named(long: &str) -> Option<&'static Flag> {
    OPTIONS.iter().find(|flag| flag.names.long() == long)
}

/// Understands the arguments that follow the program's name.
///
/// # Errors
/// What is wrong with them, for the operator.
pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let ours = OPTIONS.iter().map(|flag| (flag.names, Some(flag)));
    let aliases = ALIASES.iter().map(|&(names, of)| (names, named(of)));
    let (names, flags): (Vec<_>, Vec<_>) = ours.chain(aliases).unzip();
    let (given, operands) = arguments::read(&names, arguments).map_err(|fail| wrong(&fail))?;
    let given = given.into_iter();
    let given = given.map(|(number, value)| (names[number].long(), flags[number], value));
    let operands = operands
        .into_iter()
        .map(|value| ("root", named("root"), value));
    let given: Vec<_> = given.chain(operands).collect();
    let asked = given
        .iter()
        .filter_map(|(_, flag, _)| match flag.map(|flag| flag.takes) {
            Some(Asks(request)) => Some(request),
            Some(Nothing(_) | Text(_) | Path(_) | Probes(_)) | None => None,
        });
    let asked = asked.max();
    match asked {
        Some(Request::Help) => return Ok(Command::Print(help::text().into())),
        Some(Request::Version) => return Ok(Command::Print(help::version().into())),
        Some(Request::Show(form)) => return look(form, given).map(Command::Show),
        Some(Request::Check) | None => {}
    }
    if given.iter().any(|(name, ..)| *name == "probe") {
        return probe(given).map(Command::Probe);
    }
    let settings = settings(given)?;
    Ok(match asked {
        _ if !settings.map_tests.is_empty() => Command::MapTest(settings),
        Some(_) => Command::Check(settings),
        None => Command::Serve(settings),
    })
}

/// Which server is to be shown: what else was typed is for one that serves.
fn look(form: Form, given: Vec<(&str, Option<&Flag>, OsString)>) -> Result<Look, String> {
    let paths = given
        .into_iter()
        .filter(|(name, ..)| ["root", "control"].contains(name));
    let mut paths = paths.map(|(.., path)| PathBuf::from(path));
    let path = paths.next().unwrap_or(config::CONTROL_USUAL.into());
    match paths.next() {
        Some(_) => Err("--status: one socket at a time".into()),
        None => Ok(Look { path, form }),
    }
}

/// What a probe asks; a word that is no option is the name.
fn probe(given: Vec<(&str, Option<&Flag>, OsString)>) -> Result<Probe, String> {
    let mut probe = Probe {
        server: ([127, 0, 0, 1], config::PORT).into(),
        name: None,
        timeout: Duration::from_secs(2),
    };
    for (name, flag, value) in given {
        match (name, flag.map(|flag| flag.takes)) {
            (_, Some(Probes(change))) => {
                let changed = change(&mut probe, &value.to_string_lossy());
                changed.map_err(|message| format!("--{name}: {message}"))?;
            }
            ("root", _) if probe.name.is_none() => probe.name = Some(value.into_encoded_bytes()),
            _ => return Err("--probe: goes with --probe-timeout and one name only".into()),
        }
    }
    Ok(probe)
}

/// Makes the changes of all options, each with the name by which it was given.
fn settings(given: Vec<(&str, Option<&Flag>, OsString)>) -> Result<Settings, String> {
    let mut settings = Settings::from(PathBuf::new());
    settings.roots.clear();
    let mut seen = Vec::new();
    for (name, flag, value) in given {
        let Some(flag) = flag else { continue };
        if seen.contains(&flag.names.long()) && !flag.repeats {
            return Err(format!("--{name}: given more than once"));
        }
        if let Probes(_) = flag.takes {
            return Err(format!("--{name}: not without --probe"));
        }
        seen.push(flag.names.long());
        let applied = flag.apply(&mut settings, value);
        applied.map_err(|message| format!("--{name}: {message}"))?;
    }
    let is_test = !settings.map_tests.is_empty();
    if is_test && settings.names.map.is_none() {
        return Err("--map-test: the rules are missing: -m FILE".into());
    }
    if settings.roots.is_empty() && !is_test {
        return Err("the directory to serve is missing: -r DIR".into());
    }
    if seen.contains(&"port-range") && seen.contains(&"single-port") {
        return Err("--single-port: not together with --port-range".into());
    }
    if settings.chroot && settings.roots.len() > 1 {
        return Err("--chroot: takes one directory".into());
    }
    if settings.background && !seen.contains(&"drain") {
        // Init scripts start the next instance at once.
        settings.rules.drain = Duration::ZERO;
    }
    let uploads = &settings.uploads;
    let of_uploads = ["upload-dir", "max-upload", "umask"];
    let of_uploads = of_uploads.into_iter().find(|name| seen.contains(name));
    if let Some(name) = of_uploads.filter(|_| !uploads.are_on()) {
        return Err(format!("--{name}: needs -c or -o"));
    }
    if uploads.write_once && (!uploads.create || uploads.overwrite) {
        return Err("--write-once: needs -c, and not -o".into());
    }
    match config::of_other_family(&settings) {
        Some(address) => Err(format!(
            "--listen: {address} is not of the family that -4 or -6 names"
        )),
        None => Ok(settings),
    }
}

/// What is wrong, with a hint if it is right for another server.
fn wrong(fail: &Fail) -> String {
    let message = arguments::message(fail);
    let hint = ELSEWHERE.iter().find(|(name, _)| match fail {
        Fail::UnrecognizedOption(unknown) => unknown == name,
        _ => false,
    });
    match hint {
        Some((_, hint)) => format!("{message}: {hint}"),
        None => message,
    }
}

/// What `-4` and `-6` leave; both together are both.
fn with(families: Families, family: Families) -> Families {
    match families {
        Families::Both => family,
        Families::V4 | Families::V6 => Families::Both,
    }
}

const fn option(names: &'static str, takes: Takes, help: &'static str) -> Flag {
    let (names, default) = (Names(names), "");
    Flag {
        names,
        takes,
        repeats: false,
        help,
        default,
    }
}

impl Flag {
    const fn default(self, default: &'static str) -> Flag {
        Flag { default, ..self }
    }

    const fn repeatable(self) -> Flag {
        Flag {
            repeats: true,
            ..self
        }
    }
}

/// Takes the path of a file.
fn keep(to: &mut Option<PathBuf>, path: PathBuf) -> Result<(), String> {
    *to = Some(path);
    Ok(())
}

/// Sets a number that has bounds.
fn set<T: TryFrom<u64>>(to: &mut T, text: &str, range: RangeInclusive<u64>) -> Result<(), String> {
    *to = config::number(text, range)?;
    Ok(())
}
