//! The front door `tftpd`: its options, what they change, and sentences for people who know another server.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use getopts::Fail;

use super::Takes::{Asks, Nothing, Path, Probes, Text};
use super::arguments::{self, Names};
use super::values::{self, either, number, seconds};
use super::{Command, Flag, help};
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

/// Every option there is: how it is spelled, what it does, and the words for it.
pub const OPTIONS: &[Flag] = &[
    Names("-r, --root DIR")
        .takes(Path(|to, path| values::root(&mut to.roots, path)))
        .help("directory to serve; DIR alone means the same; repeatable")
        .repeatable()
        .titled("Most used"),
    Names("-n, --max-transfers N")
        .takes(Text(|to, text| {
            set(&mut to.limits.max_transfers, text, SLOTS)
        }))
        .help("transfers at full speed at a time (slots)")
        .default("32"),
    Names("-a, --listen ADDR[:PORT]")
        .takes(Text(|to, text| values::listen(&mut to.listen, text)))
        .help("address to listen on; :PORT is every address; repeatable")
        .default("[::]:69")
        .repeatable()
        .alias("--address ADDR"),
    Names("-u, --user USER[:GROUP]")
        .takes(Text(|to, text| {
            values::user_name(text).map(|it| to.user = Some(it))
        }))
        .help("user to switch to when started as root, by name or number")
        .default("tftp, else nobody"),
    Names("-v, --verbose")
        .takes(Nothing(|to| to.verbosity += 1))
        .help("log more; -vv: libraries, too; overrides RUST_LOG")
        .repeatable(),
    Names("-C, --check")
        .takes(Asks(Request::Check))
        .help("check the options and every file below DIR, then exit"),
    Names("-m, --map-file FILE")
        .takes(Path(|to, path| {
            values::map_file(path).map(|it| to.names.map = Some(it))
        }))
        .help("rewrite and refuse names by the rules of FILE")
        .titled("Names"),
    Names("--map-steps N")
        .takes(Text(|to, text| {
            set(&mut to.names.map_steps, text, 1..=1_000_000)
        }))
        .help("rules that are tried for one request")
        .default("4096"),
    Names("--map-test NAME[,ADDR][,put]")
        .takes(Path(|to, path| {
            let name = path.into_os_string().into_encoded_bytes();
            to.map_tests.push(name.into());
            Ok(())
        }))
        .help("print what the map makes of NAME, then exit; -: standard input; repeatable")
        .repeatable(),
    Names("-i, --ignore-case")
        .takes(Nothing(|to| to.names.ignores_case = true))
        .help("let letters match in either case if the exact name is not there"),
    Names("--unique-root ip|mac")
        .takes(Text(|to, text| {
            let unique = either(text, ("ip", Unique::Address), ("mac", Unique::Hardware));
            unique.map(|it| to.names.unique = Some(it))
        }))
        .help("serve a client from its own directory below DIR, if there is one"),
    Names("-q, --max-pending N")
        .takes(Text(|to, text| {
            set(&mut to.limits.max_pending, text, PENDING)
        }))
        .help("requests that may wait; more are dropped")
        .default("20000")
        .titled("Queue"),
    Names("--per-client N")
        .takes(Text(|to, text| set(&mut to.limits.per_client, text, SLOTS)))
        .help("transfers of one client address at a time")
        .default("8; loopback: unlimited"),
    Names("--per-client-pending N")
        .takes(Text(|to, text| {
            set(&mut to.limits.per_client_pending, text, PENDING)
        }))
        .help("requests of one client address that may wait")
        .default("32; loopback: unlimited"),
    // No firmware waits longer.
    Names("--hold SECONDS|never")
        .takes(Text(|to, text| {
            values::hold(text, 0..=300).map(|it| to.limits.hold = it)
        }))
        .help("answer a client that waits this long, and keep it alive")
        .default("1"),
    Names("--keepalive-share PERCENT")
        .takes(Text(|to, text| {
            set(&mut to.limits.keepalive_share, text, 1..=100)
        }))
        .help("share of the output for clients that are kept alive")
        .default("10"),
    Names("--small-file BYTES")
        .takes(Text(|to, text| {
            set(&mut to.limits.small_file, text, 0..=u64::MAX)
        }))
        .help("reserve slots for files up to this size; 0: reserve none")
        .default("131072"),
    Names("-4, --ipv4")
        .takes(Nothing(|to| to.families = with(to.families, Families::V4)))
        .help("listen on IPv4 addresses only")
        .titled("Clients"),
    Names("-6, --ipv6")
        .takes(Nothing(|to| to.families = with(to.families, Families::V6)))
        .help("listen on IPv6 addresses only"),
    Names("--allow CIDR")
        .takes(Text(|to, text| to.rules.access.add(text, Verdict::Allow)))
        .help("serve this network and no others; repeatable")
        .repeatable(),
    Names("--deny CIDR")
        .takes(Text(|to, text| to.rules.access.add(text, Verdict::Deny)))
        .help("never answer this network; repeatable")
        .repeatable(),
    Names("--access FILE")
        .takes(Path(|to, path| keep(&mut to.access_file, path)))
        .help("read more networks from FILE, read again on SIGHUP"),
    Names("-c, --create")
        .takes(Nothing(|to| to.uploads.create = true))
        .help("let clients write new files and replace existing ones")
        .titled("Uploads"),
    Names("-o, --overwrite")
        .takes(Nothing(|to| to.uploads.overwrite = true))
        .help("let clients replace existing files"),
    Names("--write-once")
        .takes(Nothing(|to| to.uploads.write_once = true))
        .help("with -c: never replace a file"),
    Names("--upload-dir DIR")
        .takes(Path(|to, path| {
            values::upload_directory(&mut to.uploads.directories, path)
        }))
        .help("write below this directory only; repeatable")
        .default("-r DIR")
        .repeatable(),
    Names("--max-upload BYTES")
        .takes(Text(|to, text| {
            set(&mut to.uploads.max, text, 1..=u64::MAX)
        }))
        .help("refuse larger files")
        .default("no limit"),
    Names("-U, --umask MASK")
        .takes(Text(|to, text| {
            values::umask(text).map(|it| to.uploads.umask = it)
        }))
        .help("mode bits that a new file does not get, in octal")
        .default("022"),
    Names("--public-only")
        .takes(Nothing(|to| to.public_only = true))
        .help("serve only files that others may read, replace only o+w")
        .titled("Transfers"),
    // A client that is slower than an hour is none.
    Names("-t, --timeout SECONDS")
        .takes(Text(|to, text| {
            seconds(text, 1..=3600).map(|it| to.limits.patience = it)
        }))
        .help("give up a transfer after this time without progress")
        .default("35"),
    Names("-B, --max-blksize N")
        .takes(Text(|to, text| {
            set(&mut to.limits.terms.max_blksize, text, config::BLKSIZE)
        }))
        .help("largest block size granted, in bytes")
        .default("65464")
        .alias("--blocksize N"),
    Names("-W, --max-windowsize N")
        .takes(Text(|to, text| {
            set(&mut to.limits.terms.max_windowsize, text, WINDOWSIZE)
        }))
        .help("largest window granted, in blocks")
        .default("64")
        .alias("--windowsize N"),
    Names("--no-mtu-clamp")
        .takes(Nothing(|to| to.mtu_clamp = false))
        .help("grant block sizes that need IP fragments"),
    Names("-R, --port-range A:B")
        .takes(Text(|to, text| {
            values::port_range(text).map(|it| to.ports = it)
        }))
        .help("ports for transfers; some share one if there are too few")
        .default("any"),
    Names("--single-port")
        .takes(Nothing(|to| to.ports = Ports::Single))
        .help("transfer over the port listened on: for NAT and containers"),
    Names("--refuse OPTION")
        .takes(Text(values::refuse))
        .help("never grant this TFTP option; repeatable")
        .repeatable(),
    Names("--drain SECONDS")
        .takes(Text(|to, text| {
            seconds(text, 0..=3600).map(|it| to.rules.drain = it)
        }))
        .help("time for running transfers to finish after SIGTERM")
        .default("3")
        .titled("Process"),
    Names("--lame-duck SECONDS")
        .takes(Text(|to, text| {
            seconds(text, 0..=3600).map(|it| to.rules.lame_duck = it)
        }))
        .help("before that, serve on without answering probes")
        .default("0"),
    Names("--chroot")
        .takes(Nothing(|to| to.chroot = true))
        .help("change the root directory to DIR; needs root"),
    Names("--no-sandbox")
        .takes(Nothing(|to| to.sandbox = false))
        .help("confine neither file access (Landlock) nor system calls (seccomp)"),
    Names("-b, --background")
        .takes(Nothing(|to| to.background = true))
        .help("leave the terminal and log to syslog"),
    Names("-P, --pidfile FILE")
        .takes(Path(|to, path| keep(&mut to.pidfile, path)))
        .help("write the process number to FILE"),
    Names("--syslog")
        .takes(Nothing(|to| to.syslog = true))
        .help("log to syslog instead of standard error"),
    Names("--log-format text|json")
        .takes(Text(|to, text| {
            let format = either(text, ("text", LogFormat::Text), ("json", LogFormat::Json));
            format.map(|it| to.log_format = it)
        }))
        .help("lines of the log in words, or as one JSON object each")
        .default("text"),
    Names("--stats FILE")
        .takes(Path(|to, path| keep(&mut to.stats, path)))
        .help("write statistics for Prometheus to FILE")
        .titled("Monitoring"),
    Names("--control FILE")
        .takes(Path(|to, path| keep(&mut to.control, path)))
        .help("answer GET /status and /metrics at this UNIX socket"),
    Names("--status")
        .takes(Asks(Request::Show(Form::Live)))
        .help("show a running server: tftpd --status [FILE], the socket of --control")
        .default("/run/tftpd.sock"),
    Names("--once")
        .takes(Asks(Request::Show(Form::Once)))
        .help("the same once, as text"),
    Names("--json")
        .takes(Asks(Request::Show(Form::Json)))
        .help("the same once, as JSON"),
    Names("--probe ADDR[:PORT]")
        .takes(Probes(|to, text| {
            values::server(text).map(|it| to.server = it)
        }))
        .help("ask a server whether it serves: tftpd --probe ADDR [NAME]"),
    Names("--probe-timeout SECONDS")
        .takes(Probes(|to, text| {
            seconds(text, 1..=60).map(|it| to.timeout = it)
        }))
        .help("wait this long for the answer")
        .default("2"),
    Names("-h, --help")
        .takes(Asks(Request::Help))
        .help("print this help")
        .titled("Other"),
    Names("-V, --version")
        .takes(Asks(Request::Version))
        .help("print the version"),
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
    let aliases = OPTIONS
        .iter()
        .filter_map(|flag| Some((flag.alias?, Some(flag))));
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
