//! The front door `tftpd`: its options, what they change, and sentences for people who know another server.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use getopts::Fail;

use super::Takes::{Asks, Nothing, Path, Text};
use super::arguments::{self, Spelling};
use super::{Command, Flag, Takes, help};
use crate::access::Verdict;
use crate::config::{self, Families, Settings};

/// What a command line asks for, unless it asks to serve; the last counts most.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Request {
    Check,
    Version,
    Help,
}

/// Every option there is: how it is spelled, what it does, and the words for it.
pub const OPTIONS: &[Flag] = &[
    option(
        "root",
        Path("DIR", |to, path| {
            match path.to_str().filter(|name| HPA_REFUSES.contains(name)) {
                Some(name) => {
                    return Err(format!(
                        "'{name}' is an option and no directory; tftpd-hpa's -r is --refuse here"
                    ));
                }
                None => to.root = path,
            }
            Ok(())
        }),
        "directory served; must be given, or DIR alone",
    )
    .letter('r'),
    option(
        "public-only",
        Nothing(|to| to.public_only = true),
        "serve only files that others may read (o+r)",
    ),
    option(
        "max-transfers",
        Text("N", |to, text| {
            set(&mut to.limits.max_transfers, text, config::MAX_TRANSFERS)
        }),
        "hard cap on concurrent transfers (slots)",
    )
    .letter('n')
    .default("32"),
    option(
        "max-pending",
        Text("N", |to, text| {
            set(&mut to.limits.max_pending, text, config::MAX_PENDING)
        }),
        "bound of the queue of waiting requests",
    )
    .letter('q')
    .default("4096"),
    option(
        "per-client",
        Text("N", |to, text| {
            to.limits.spares_loopback = false;
            set(&mut to.limits.per_client, text, config::PER_CLIENT)
        }),
        "concurrent transfers of one client address",
    )
    .default("8; loopback: no bound"),
    option(
        "per-client-pending",
        Text("N", |to, text| {
            to.limits.spares_loopback = false;
            set(
                &mut to.limits.per_client_pending,
                text,
                config::PER_CLIENT_PENDING,
            )
        }),
        "waiting requests of one client address",
    )
    .default("32; loopback: no bound"),
    option(
        "hold",
        Text("SECONDS|never", |to, text| {
            to.limits.hold = config::hold(text)?;
            Ok(())
        }),
        "after how long a waiting client is answered and kept alive",
    )
    .default("1"),
    option(
        "keepalive-share",
        Text("PERCENT", |to, text| {
            set(
                &mut to.limits.keepalive_share,
                text,
                config::KEEPALIVE_SHARE,
            )
        }),
        "share of the output that keeping alive may take",
    )
    .default("10"),
    option(
        "small-file",
        Text("BYTES", |to, text| {
            set(&mut to.limits.small_file, text, config::SMALL_FILE)
        }),
        "files up to this size have slots of their own; 0: none have",
    )
    .default("131072"),
    option(
        "listen",
        Text("ADDR[:PORT]", |to, text| {
            to.listen.push(config::listen_address(text)?);
            match to.listen.len() > config::LISTEN_MAX {
                true => Err(format!("more than {} addresses", config::LISTEN_MAX)),
                false => Ok(()),
            }
        }),
        "address to listen on, or :PORT for all, repeatable; port 0 picks one",
    )
    .letter('a')
    .default("[::]:69, or 0.0.0.0:69 without IPv6")
    .repeatable(),
    option(
        "ipv4",
        Nothing(|to| to.families = with(to.families, Families::V4)),
        "listen on IPv4 addresses only",
    )
    .letter('4'),
    option(
        "ipv6",
        Nothing(|to| to.families = with(to.families, Families::V6)),
        "listen on IPv6 addresses only",
    )
    .letter('6'),
    option(
        "allow",
        Text("CIDR", |to, text| to.access.add(text, Verdict::Allow)),
        "network that is served, repeatable; any other is not",
    )
    .repeatable(),
    option(
        "deny",
        Text("CIDR", |to, text| to.access.add(text, Verdict::Deny)),
        "network that gets no answer, repeatable",
    )
    .repeatable(),
    option(
        "timeout",
        Text("SECONDS", |to, text| {
            to.limits.patience = config::seconds(text, config::TIMEOUT)?;
            Ok(())
        }),
        "silence after which a transfer is given up",
    )
    .letter('t')
    .default("35"),
    option(
        "drain",
        Text("SECONDS", |to, text| {
            to.drain = config::seconds(text, config::DRAIN)?;
            Ok(())
        }),
        "after SIGTERM, let running transfers finish for so long",
    )
    .default("3"),
    option(
        "max-blksize",
        Text("N", |to, text| {
            set(&mut to.limits.terms.max_blksize, text, config::MAX_BLKSIZE)
        }),
        "largest block size granted, in bytes",
    )
    .letter('B')
    .default("65464"),
    option(
        "max-windowsize",
        Text("N", |to, text| {
            set(
                &mut to.limits.terms.max_windowsize,
                text,
                config::MAX_WINDOWSIZE,
            )
        }),
        "largest window granted, in blocks",
    )
    .letter('W')
    .default("64"),
    option(
        "no-mtu-clamp",
        Nothing(|to| to.mtu_clamp = false),
        "grant block sizes that travel in fragments",
    ),
    option(
        "refuse",
        Text("OPTION", |to, text| {
            match to.limits.terms.refused.add(text.as_bytes()) {
                true => Ok(()),
                false => Err(format!("'{text}' is none of {}", config::REFUSABLE)),
            }
        }),
        "TFTP option granted to nobody, repeatable",
    )
    .repeatable(),
    option(
        "user",
        Text("USER[:GROUP]", |to, text| {
            to.user = Some(config::user_name(text)?);
            Ok(())
        }),
        "who to be when started as root, by name or number",
    )
    .letter('u')
    .default("tftp, or nobody where there is none"),
    option(
        "chroot",
        Nothing(|to| to.chroot = true),
        "make DIR the root of all paths; needs root",
    ),
    option(
        "no-sandbox",
        Nothing(|to| to.sandbox = false),
        "confine neither files (Landlock) nor system calls (seccomp)",
    ),
    option(
        "background",
        Nothing(|to| to.background = true),
        "leave the terminal once it listens; logs to syslog",
    )
    .letter('b'),
    option(
        "pidfile",
        Path("FILE", |to, path| {
            to.pidfile = Some(path);
            Ok(())
        }),
        "where to write the process number",
    )
    .letter('P'),
    option(
        "syslog",
        Nothing(|to| to.syslog = true),
        "log to syslog instead of standard error",
    ),
    option(
        "verbose",
        Nothing(|to| to.verbosity += 1),
        "log more; twice: what libraries say, too; overrides RUST_LOG",
    )
    .letter('v')
    .repeatable(),
    option(
        "check",
        Asks(Request::Check),
        "check the options and the directory, then exit",
    )
    .letter('C'),
    option("help", Asks(Request::Help), "print this help").letter('h'),
    option("version", Asks(Request::Version), "print the version").letter('V'),
];

/// Long names of tftpd-hpa: each means the same as one of ours, or what is done anyway.
const ALIASES: &[(&str, Option<&str>)] = &[
    ("address", Some("listen")),
    ("blocksize", Some("max-blksize")),
    ("windowsize", Some("max-windowsize")),
    ("secure", None),
    ("foreground", None),
];

/// What an unknown option means elsewhere.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "s",
        "tftpd-hpa's -s DIR is -r DIR here, or call this program in.tftpd",
    ),
    (
        "l",
        "tftpd-hpa's -l is -b here, or call this program in.tftpd",
    ),
    (
        "L",
        "tftpd stays in the foreground; or call this program in.tftpd",
    ),
    (
        "p",
        "tftpd-hpa's -p is the rule here; or call this program in.tftpd",
    ),
    ("m", "atftpd's -m is -n here"),
    ("maxthread", "atftpd's --maxthread is -n here"),
    ("daemon", "atftpd's --daemon is -b here"),
    ("no-fork", "tftpd stays in the foreground"),
    ("port", "the port is a part of the address: -a :69"),
    ("d", "the directory is -r DIR here"),
    ("directory", "the directory is -r DIR here"),
];

/// What tftpd-hpa refuses with its `-r`. A directory of such a name is `./blksize`.
const HPA_REFUSES: [&str; 7] = [
    "blksize",
    "blksize2",
    "tsize",
    "timeout",
    "utimeout",
    "rollover",
    "windowsize",
];

/// Understands the arguments that follow the program's name.
///
/// # Errors
/// What is wrong with them, for the operator.
pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let ours = OPTIONS
        .iter()
        .map(|flag| (flag.long, flag.short, Some(flag)));
    let aliases = ALIASES.iter().map(|&(long, of)| {
        let of = OPTIONS.iter().find(|flag| Some(flag.long) == of);
        (long, None, of)
    });
    let names: Vec<_> = ours.chain(aliases).collect();
    let spellings = names.iter().map(|&(long, short, flag)| Spelling {
        short,
        long,
        has_value: flag.is_some_and(|flag| flag.value().is_some()),
    });
    let read = arguments::read(&spellings.collect::<Vec<_>>(), arguments);
    let (given, operands) = read.map_err(|fail| wrong(&fail))?;
    let given = given.into_iter().map(|given| {
        let (long, _, flag) = names[given.spelling];
        (long, flag, given.value)
    });
    let given: Vec<_> = given.collect();
    let asked = given
        .iter()
        .filter_map(|(_, flag, _)| match flag.map(|flag| flag.takes) {
            Some(Asks(request)) => Some(request),
            Some(Nothing(_) | Text(..) | Path(..)) | None => None,
        });
    let asked = asked.max();
    match asked {
        Some(Request::Help) => return Ok(Command::Print(help::text().into())),
        Some(Request::Version) => return Ok(Command::Print(help::version().into())),
        Some(Request::Check) | None => {}
    }
    let operands = operands
        .into_iter()
        .map(|directory| ("root", OPTIONS.first(), directory));
    let settings = settings(given.into_iter().chain(operands))?;
    Ok(match asked {
        Some(_) => Command::Check(settings),
        None => Command::Serve(settings),
    })
}

/// Makes the changes of all options, each with the name by which it was given.
fn settings<'a>(
    given: impl Iterator<Item = (&'a str, Option<&'a Flag>, OsString)>,
) -> Result<Settings, String> {
    let mut settings = Settings::from(PathBuf::new());
    let mut seen = Vec::new();
    for (name, flag, value) in given {
        let Some(flag) = flag else { continue };
        if seen.contains(&flag.long) && !flag.repeats {
            return Err(format!("--{name}: given more than once"));
        }
        seen.push(flag.long);
        let applied = flag.apply(&mut settings, value);
        applied.map_err(|message| format!("--{name}: {message}"))?;
    }
    if settings.root.as_os_str().is_empty() {
        return Err("the directory to serve is missing: -r DIR".into());
    }
    if settings.background && !seen.contains(&"drain") {
        // Init scripts start the next instance at once.
        settings.drain = Duration::ZERO;
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
    let message = arguments::narrowed(&fail.to_string()).display().to_string();
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

const fn option(long: &'static str, takes: Takes, help: &'static str) -> Flag {
    Flag {
        short: None,
        long,
        takes,
        repeats: false,
        help,
        default: None,
    }
}

impl Flag {
    const fn letter(mut self, letter: char) -> Flag {
        self.short = Some(letter);
        self
    }

    const fn default(mut self, default: &'static str) -> Flag {
        self.default = Some(default);
        self
    }

    const fn repeatable(mut self) -> Flag {
        self.repeats = true;
        self
    }
}

/// Sets a number that has bounds.
fn set<T: TryFrom<u64>>(to: &mut T, text: &str, range: RangeInclusive<u64>) -> Result<(), String> {
    *to = config::number(text, range)?;
    Ok(())
}
