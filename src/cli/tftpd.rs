//! The options of `tftpd` itself.

use std::ops::RangeInclusive;

use super::Takes::{Asks, Nothing, Path, Text};
use super::{Flag, Takes};
use crate::access::Verdict;
use crate::config;

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
        Path("DIR", |to, path| to.root = path),
        "directory served; must be given",
    )
    .letter('r'),
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
    .default("2"),
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
        "address to listen on, repeatable; port 0 picks one",
    )
    .letter('a')
    .default("[::]:69, or 0.0.0.0:69 without IPv6")
    .repeatable(),
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
