//! The front door `tftpd`: its options, what they change, and sentences for people who know another server.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use getopts::Fail;

use super::Takes::{Asks, Nothing, Path, Probes, Text};
use super::arguments::{self, Names};
use super::values::{self, either, number, seconds};
use super::{Command, Flag, Takes, help};
use crate::access::Verdict;
use crate::config::{self, Families, Form, LogFormat, Look, Ports, Probe, Settings};
use crate::names::Unique;

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
    repeatable(
        "-r, --root DIR",
        Path(|to, path| values::root(&mut to.roots, path)),
        "directory to serve; DIR alone means the same; repeatable",
    ),
    option(
        "-n, --max-transfers N",
        Text(|to, text| set(&mut to.limits.max_transfers, text, SLOTS)),
        "transfers at full speed at a time (slots) (default: 32)",
    ),
    repeatable(
        "-a, --listen ADDR[:PORT]",
        Text(|to, text| values::listen(&mut to.listen, text)),
        "address to listen on; :PORT is every address; repeatable (default: [::]:69)",
    )
    .alias("--address ADDR"),
    option(
        "-u, --user USER[:GROUP]",
        Text(|to, text| values::user_name(text).map(|it| to.user = Some(it))),
        "user to switch to when started as root, by name or number (default: tftp, else nobody)",
    ),
    repeatable(
        "-v, --verbose",
        Nothing(|to| to.verbosity += 1),
        "log more; -vv: libraries, too; overrides RUST_LOG",
    ),
    option(
        "-C, --check",
        Asks(Request::Check),
        "check the options and every file below DIR, then exit",
    ),
    option(
        "-m, --map-file FILE",
        Path(|to, path| values::map_file(path).map(|it| to.names.map = Some(it))),
        "rewrite and refuse names by the rules of FILE",
    ),
    option(
        "--map-steps N",
        Text(|to, text| set(&mut to.names.map_steps, text, 1..=1_000_000)),
        "rules that are tried for one request (default: 4096)",
    ),
    repeatable(
        "--map-test NAME[,ADDR][,put]",
        Path(|to, path| {
            let name = path.into_os_string().into_encoded_bytes();
            to.map_tests.push(name.into());
            Ok(())
        }),
        "print what the map makes of NAME, then exit; -: standard input; repeatable",
    ),
    option(
        "-i, --ignore-case",
        Nothing(|to| to.names.ignores_case = true),
        "let letters match in either case if the exact name is not there",
    ),
    option(
        "--unique-root ip|mac",
        Text(|to, text| {
            let unique = either(text, ("ip", Unique::Address), ("mac", Unique::Hardware));
            unique.map(|it| to.names.unique = Some(it))
        }),
        "serve a client from its own directory below DIR, if there is one",
    ),
    option(
        "-q, --max-pending N",
        Text(|to, text| set(&mut to.limits.max_pending, text, PENDING)),
        "requests that may wait; more are dropped (default: 20000)",
    ),
    option(
        "--per-client N",
        Text(|to, text| set(&mut to.limits.per_client, text, SLOTS)),
        "transfers of one client address at a time (default: 8; loopback: unlimited)",
    ),
    option(
        "--per-client-pending N",
        Text(|to, text| set(&mut to.limits.per_client_pending, text, PENDING)),
        "requests of one client address that may wait (default: 32; loopback: unlimited)",
    ),
    option(
        "--hold SECONDS|never",
        // No firmware waits longer.
        Text(|to, text| values::hold(text, 0..=300).map(|it| to.limits.hold = it)),
        "answer a client that waits this long, and keep it alive (default: 1)",
    ),
    option(
        "--keepalive-share PERCENT",
        Text(|to, text| set(&mut to.limits.keepalive_share, text, 1..=100)),
        "share of the output for clients that are kept alive (default: 10)",
    ),
    option(
        "--small-file BYTES",
        Text(|to, text| set(&mut to.limits.small_file, text, 0..=u64::MAX)),
        "reserve slots for files up to this size; 0: reserve none (default: 131072)",
    ),
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
    repeatable(
        "--allow CIDR",
        Text(|to, text| to.rules.access.add(text, Verdict::Allow)),
        "serve this network and no others; repeatable",
    ),
    repeatable(
        "--deny CIDR",
        Text(|to, text| to.rules.access.add(text, Verdict::Deny)),
        "never answer this network; repeatable",
    ),
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
    repeatable(
        "--upload-dir DIR",
        Path(|to, path| values::upload_directory(&mut to.uploads.directories, path)),
        "write below this directory only; repeatable (default: -r DIR)",
    ),
    option(
        "--max-upload BYTES",
        Text(|to, text| set(&mut to.uploads.max, text, 1..=u64::MAX)),
        "refuse larger files (default: no limit)",
    ),
    option(
        "-U, --umask MASK",
        Text(|to, text| values::umask(text).map(|it| to.uploads.umask = it)),
        "mode bits that a new file does not get, in octal (default: 022)",
    ),
    option(
        "--public-only",
        Nothing(|to| to.public_only = true),
        "serve only files that others may read, replace only o+w",
    ),
    option(
        "-t, --timeout SECONDS",
        // A client that is slower than an hour is none.
        Text(|to, text| seconds(text, 1..=3600).map(|it| to.limits.patience = it)),
        "give up a transfer after this time without progress (default: 35)",
    ),
    option(
        "-B, --max-blksize N",
        Text(|to, text| set(&mut to.limits.terms.max_blksize, text, config::BLKSIZE)),
        "largest block size granted, in bytes (default: 65464)",
    )
    .alias("--blocksize N"),
    option(
        "-W, --max-windowsize N",
        Text(|to, text| set(&mut to.limits.terms.max_windowsize, text, WINDOWSIZE)),
        "largest window granted, in blocks (default: 64)",
    )
    .alias("--windowsize N"),
    option(
        "--no-mtu-clamp",
        Nothing(|to| to.mtu_clamp = false),
        "grant block sizes that need IP fragments",
    ),
    option(
        "-R, --port-range A:B",
        Text(|to, text| values::port_range(text).map(|it| to.ports = it)),
        "ports for transfers; some share one if there are too few (default: any)",
    ),
    option(
        "--single-port",
        Nothing(|to| to.ports = Ports::Single),
        "transfer over the port listened on: for NAT and containers",
    ),
    repeatable(
        "--refuse OPTION",
        Text(values::refuse),
        "never grant this TFTP option; repeatable",
    ),
    option(
        "--drain SECONDS",
        Text(|to, text| seconds(text, 0..=3600).map(|it| to.rules.drain = it)),
        "time for running transfers to finish after SIGTERM (default: 3)",
    ),
    option(
        "--lame-duck SECONDS",
        Text(|to, text| seconds(text, 0..=3600).map(|it| to.rules.lame_duck = it)),
        "before that, serve on without answering probes (default: 0)",
    ),
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
        Text(|to, text| {
            let format = either(text, ("text", LogFormat::Text), ("json", LogFormat::Json));
            format.map(|it| to.log_format = it)
        }),
        "lines of the log in words, or as one JSON object each (default: text)",
    ),
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
        "show a running server: tftpd --status [FILE], the socket of --control (default: /run/tftpd.sock)",
    ),
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
        Probes(|to, text| values::server(text).map(|it| to.server = it)),
        "ask a server whether it serves: tftpd --probe ADDR [NAME]",
    ),
    option(
        "--probe-timeout SECONDS",
        Probes(|to, text| seconds(text, 1..=60).map(|it| to.timeout = it)),
        "wait this long for the answer (default: 2)",
    ),
    option("-h, --help", Asks(Request::Help), "print this help"),
    option("-V, --version", Asks(Request::Version), "print the version"),
];

/// Slots: at least one, and no more than a system has sockets for.
const SLOTS: RangeInclusive<u64> = 1..=100_000;
/// Those who wait cost memory only, but each costs some.
const PENDING: RangeInclusive<u64> = 0..=1_000_000;
/// Blocks in a window (RFC 7440).
const WINDOWSIZE: RangeInclusive<u64> = 1..=u16::MAX as u64;

/// Long names of tftpd-hpa for what is done anyway.
const DONE_ANYWAY: [Names; 2] = [Names("--secure"), Names("--foreground")];

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

/// An option that was typed: the name that was used, its row in the table and its value.
type Given = (&'static str, &'static Flag, OsString);

/// Understands the arguments that follow the program's name.
///
/// # Errors
/// What is wrong with them, for the operator.
pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let ours = OPTIONS.iter().map(|flag| (flag.names, Some(flag)));
    let aliases = OPTIONS.iter().map(|flag| (Names(flag.alias), Some(flag)));
    let aliases = aliases.filter(|(names, _)| !names.0.is_empty());
    let others = DONE_ANYWAY.map(|names| (names, None));
    let (names, flags): (Vec<_>, Vec<_>) = ours.chain(aliases).chain(others).unzip();
    let (given, operands) = arguments::read(&names, arguments).map_err(|fail| wrong(&fail))?;
    let typed = |(number, value): (usize, _)| Some((names[number].long(), flags[number]?, value));
    let root = OPTIONS.iter().filter(|flag| flag.names.long() == "root");
    let operands = root.flat_map(|root| operands.iter().map(move |it| ("root", root, it.clone())));
    let given: Vec<Given> = given
        .into_iter()
        .filter_map(typed)
        .chain(operands)
        .collect();
    let asked = given.iter().filter_map(|(_, flag, _)| match flag.takes {
        Asks(request) => Some(request),
        Nothing(_) | Text(_) | Path(_) | Probes(_) => None,
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
fn look(form: Form, given: Vec<Given>) -> Result<Look, String> {
    let is_path = |(name, ..): &Given| ["root", "control"].contains(name);
    let mut paths = given.into_iter().filter(is_path).map(|(.., path)| path);
    let path = paths.next().unwrap_or(config::CONTROL_USUAL.into()).into();
    match paths.next() {
        Some(_) => Err("--status: one socket at a time".into()),
        None => Ok(Look { path, form }),
    }
}

/// What a probe asks; a word that is no option is the name.
fn probe(given: Vec<Given>) -> Result<Probe, String> {
    let mut probe = Probe {
        server: ([127, 0, 0, 1], config::PORT).into(),
        name: None,
        timeout: Duration::from_secs(2),
    };
    for (name, flag, value) in given {
        match flag.takes {
            Probes(change) => change(&mut probe, &value.to_string_lossy())
                .map_err(|message| format!("--{name}: {message}"))?,
            _ if name == "root" && probe.name.is_none() => {
                probe.name = Some(value.into_encoded_bytes());
            }
            _ => return Err("--probe: goes with --probe-timeout and one name only".into()),
        }
    }
    Ok(probe)
}

/// Makes the changes of all options.
fn settings(given: Vec<Given>) -> Result<Settings, String> {
    let mut settings = Settings::from(PathBuf::new());
    settings.roots.clear();
    let mut seen = Vec::new();
    for (name, flag, value) in given {
        let long = flag.names.long();
        if seen.contains(&long) && !flag.repeats {
            return Err(format!("--{name}: given more than once"));
        }
        seen.push(long);
        let applied = flag.apply(&mut settings, value);
        applied.map_err(|message| format!("--{name}: {message}"))?;
    }
    let is_given = |names: &[&'static str]| names.iter().copied().find(|name| seen.contains(name));
    settings.queue_is_chosen = is_given(&["max-pending"]).is_some();
    settings.limits.spares_loopback = is_given(&["per-client", "per-client-pending"]).is_none();
    if settings.background && is_given(&["drain"]).is_none() {
        // Init scripts start the next instance at once.
        settings.rules.drain = Duration::ZERO;
    }
    let is_test = !settings.map_tests.is_empty();
    let two_ports = seen.contains(&"port-range") && seen.contains(&"single-port");
    let uploads = &settings.uploads;
    let once = uploads.write_once && (!uploads.create || uploads.overwrite);
    let wrong = [
        (
            is_test && settings.names.map.is_none(),
            "--map-test: the rules are missing: -m FILE",
        ),
        (
            settings.roots.is_empty() && !is_test,
            "the directory to serve is missing: -r DIR",
        ),
        (two_ports, "--single-port: not together with --port-range"),
        (
            settings.chroot && settings.roots.len() > 1,
            "--chroot: takes one directory",
        ),
        (once, "--write-once: needs -c, and not -o"),
    ];
    if let Some((_, message)) = wrong.iter().find(|(is_wrong, _)| *is_wrong) {
        return Err((*message).into());
    }
    let of_uploads = is_given(&["upload-dir", "max-upload", "umask"]);
    if let Some(name) = of_uploads.filter(|_| !uploads.are_on()) {
        return Err(format!("--{name}: needs -c or -o"));
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
    Flag {
        names: Names(names),
        alias: "",
        takes,
        repeats: false,
        help,
    }
}

const fn repeatable(names: &'static str, takes: Takes, help: &'static str) -> Flag {
    Flag {
        repeats: true,
        ..option(names, takes, help)
    }
}

impl Flag {
    const fn alias(self, alias: &'static str) -> Flag {
        Flag { alias, ..self }
    }
}

/// Takes the path of a file.
fn keep(to: &mut Option<PathBuf>, path: PathBuf) -> Result<(), String> {
    *to = Some(path);
    Ok(())
}

/// Sets a number that has bounds.
fn set<T: TryFrom<u64>>(to: &mut T, text: &str, range: RangeInclusive<u64>) -> Result<(), String> {
    *to = number(text, range)?;
    Ok(())
}
