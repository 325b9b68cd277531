//! The command line: one table of options, and what was typed → what is meant.
//!
//! `--help` is made from the table, and `tests/manual.rs` holds the man page to it.

use std::ffi::OsString;
use std::path::PathBuf;

use getopts::{HasArg, Matches, Occur, Options};

use crate::access::Verdict;
use crate::config::{self, Settings};

/// One option.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flag {
    /// Its letter, if it has one.
    pub short: Option<char>,
    /// Its name.
    pub long: &'static str,
    /// What its value is called, if it takes one.
    pub value: Option<&'static str>,
    /// What it does.
    pub help: &'static str,
    /// What holds without it, where that is worth a word.
    pub default: Option<&'static str>,
}

/// Every option there is.
pub const OPTIONS: &[Flag] = &[
    Flag {
        short: Some('r'),
        long: "root",
        value: Some("DIR"),
        help: "directory served; must be given",
        default: None,
    },
    Flag {
        short: Some('n'),
        long: "max-transfers",
        value: Some("N"),
        help: "hard cap on concurrent transfers (slots)",
        default: Some("32"),
    },
    Flag {
        short: Some('q'),
        long: "max-pending",
        value: Some("N"),
        help: "bound of the queue of waiting requests",
        default: Some("4096"),
    },
    Flag {
        short: None,
        long: "per-client",
        value: Some("N"),
        help: "concurrent transfers of one client address",
        default: Some("8; loopback: no bound"),
    },
    Flag {
        short: None,
        long: "per-client-pending",
        value: Some("N"),
        help: "waiting requests of one client address",
        default: Some("32; loopback: no bound"),
    },
    Flag {
        short: None,
        long: "hold",
        value: Some("SECONDS|never"),
        help: "after how long a waiting client is answered and kept alive",
        default: Some("2"),
    },
    Flag {
        short: None,
        long: "keepalive-share",
        value: Some("PERCENT"),
        help: "share of the output that keeping alive may take",
        default: Some("10"),
    },
    Flag {
        short: None,
        long: "small-file",
        value: Some("BYTES"),
        help: "files up to this size have slots of their own; 0: none have",
        default: Some("131072"),
    },
    Flag {
        short: Some('a'),
        long: "listen",
        value: Some("ADDR[:PORT]"),
        help: "address to listen on, repeatable; port 0 picks one",
        default: Some("[::]:69, or 0.0.0.0:69 without IPv6"),
    },
    Flag {
        short: None,
        long: "allow",
        value: Some("CIDR"),
        help: "network that is served, repeatable; any other is not",
        default: None,
    },
    Flag {
        short: None,
        long: "deny",
        value: Some("CIDR"),
        help: "network that gets no answer, repeatable",
        default: None,
    },
    Flag {
        short: Some('t'),
        long: "timeout",
        value: Some("SECONDS"),
        help: "silence after which a transfer is given up",
        default: Some("35"),
    },
    Flag {
        short: Some('B'),
        long: "max-blksize",
        value: Some("N"),
        help: "largest block size granted, in bytes",
        default: Some("65464"),
    },
    Flag {
        short: Some('W'),
        long: "max-windowsize",
        value: Some("N"),
        help: "largest window granted, in blocks",
        default: Some("64"),
    },
    Flag {
        short: None,
        long: "no-mtu-clamp",
        value: None,
        help: "grant block sizes that travel in fragments",
        default: None,
    },
    Flag {
        short: Some('u'),
        long: "user",
        value: Some("USER[:GROUP]"),
        help: "who to be when started as root, by name or number",
        default: Some("tftp, or nobody where there is none"),
    },
    Flag {
        short: None,
        long: "chroot",
        value: None,
        help: "make DIR the root of all paths; needs root",
        default: None,
    },
    Flag {
        short: None,
        long: "no-sandbox",
        value: None,
        help: "confine neither files (Landlock) nor system calls (seccomp)",
        default: None,
    },
    Flag {
        short: Some('v'),
        long: "verbose",
        value: None,
        help: "log more; twice: what libraries say, too; overrides RUST_LOG",
        default: None,
    },
    Flag {
        short: Some('C'),
        long: "check",
        value: None,
        help: "check the options and the directory, then exit",
        default: None,
    },
    Flag {
        short: Some('h'),
        long: "help",
        value: None,
        help: "print this help",
        default: None,
    },
    Flag {
        short: Some('V'),
        long: "version",
        value: None,
        help: "print the version",
        default: None,
    },
];

/// What the operator wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Serve.
    Serve(Settings),
    /// Look whether that would work.
    Check(Settings),
    /// Print [`help`].
    Help,
    /// Print [`version`].
    Version,
}

/// Understands the arguments that follow the program's name.
///
/// # Errors
/// What is wrong with them, for the operator.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let matches = parser().parse(arguments).map_err(|fail| fail.to_string())?;
    if matches.opt_present("help") {
        return Ok(Command::Help);
    }
    if matches.opt_present("version") {
        return Ok(Command::Version);
    }
    if let Some(extra) = matches.free.first() {
        return Err(format!("unexpected argument '{extra}'"));
    }
    let settings = settings(&matches)?;
    Ok(if matches.opt_present("check") {
        Command::Check(settings)
    } else {
        Command::Serve(settings)
    })
}

fn settings(matches: &Matches) -> Result<Settings, String> {
    let root = matches.opt_str("root").filter(|root| !root.is_empty());
    let root = root.ok_or("the directory to serve is missing: -r DIR")?;
    let mut settings = Settings::from(PathBuf::from(root));
    let limits = &mut settings.limits;
    for (name, value) in given(matches) {
        let named = |message: String| format!("--{name}: {message}");
        match name {
            "max-transfers" => {
                limits.max_transfers =
                    config::number(&value, config::MAX_TRANSFERS).map_err(named)?;
            }
            "max-pending" => {
                limits.max_pending = config::number(&value, config::MAX_PENDING).map_err(named)?;
            }
            "per-client" => {
                limits.per_client = config::number(&value, config::PER_CLIENT).map_err(named)?;
                limits.spares_loopback = false;
            }
            "per-client-pending" => {
                limits.per_client_pending =
                    config::number(&value, config::PER_CLIENT_PENDING).map_err(named)?;
                limits.spares_loopback = false;
            }
            "hold" => limits.hold = config::hold(&value).map_err(named)?,
            "keepalive-share" => {
                limits.keepalive_share =
                    config::number(&value, config::KEEPALIVE_SHARE).map_err(named)?;
            }
            "small-file" => {
                limits.small_file = config::number(&value, config::SMALL_FILE).map_err(named)?;
            }
            "timeout" => {
                limits.patience = config::seconds(&value, config::TIMEOUT).map_err(named)?
            }
            "max-blksize" => {
                limits.terms.max_blksize =
                    config::number(&value, config::MAX_BLKSIZE).map_err(named)?;
            }
            "max-windowsize" => {
                limits.terms.max_windowsize =
                    config::number(&value, config::MAX_WINDOWSIZE).map_err(named)?;
            }
            "listen" => settings
                .listen
                .push(config::listen_address(&value).map_err(named)?),
            "user" => settings.user = Some(config::user_name(&value).map_err(named)?),
            "allow" => settings.access.add(&value, Verdict::Allow).map_err(named)?,
            "deny" => settings.access.add(&value, Verdict::Deny).map_err(named)?,
            _ => {}
        }
    }
    if settings.listen.len() > config::LISTEN_MAX {
        return Err(format!(
            "--listen: more than {} addresses",
            config::LISTEN_MAX
        ));
    }
    settings.mtu_clamp = !matches.opt_present("no-mtu-clamp");
    settings.chroot = matches.opt_present("chroot");
    settings.sandbox = !matches.opt_present("no-sandbox");
    settings.verbosity = matches.opt_count("verbose");
    Ok(settings)
}

/// Every value that was given, with the name of its option.
fn given(matches: &Matches) -> impl Iterator<Item = (&'static str, String)> + '_ {
    let takes_value = OPTIONS.iter().filter(|flag| flag.value.is_some());
    takes_value.flat_map(|flag| {
        matches
            .opt_strs(flag.long)
            .into_iter()
            .map(|value| (flag.long, value))
    })
}

fn parser() -> Options {
    let mut parser = Options::new();
    for flag in OPTIONS {
        let short = flag.short.map(String::from).unwrap_or_default();
        let (has_value, hint) = match flag.value {
            Some(name) => (HasArg::Yes, name),
            None => (HasArg::No, ""),
        };
        let occurs = if REPEATABLE.contains(&flag.long) {
            Occur::Multi
        } else {
            Occur::Optional
        };
        parser.opt(&short, flag.long, flag.help, hint, has_value, occurs);
    }
    parser
}

const REPEATABLE: [&str; 4] = ["listen", "allow", "deny", "verbose"];

/// The text of `--help`.
pub fn help() -> String {
    let mut text = String::from(
        "Usage: tftpd -r DIR [options]\n\n\
         Serves the files of a directory over TFTP to machines that boot: a bounded number of\n\
         transfers at a time; everybody else waits and is kept alive.\n\nOptions:\n",
    );
    let names = |flag: &Flag| {
        let short = flag
            .short
            .map_or("    ".into(), |short| format!("-{short}, "));
        let value = flag
            .value
            .map(|value| format!(" {value}"))
            .unwrap_or_default();
        format!("{short}--{}{value}", flag.long)
    };
    let width = OPTIONS
        .iter()
        .map(|flag| names(flag).len())
        .max()
        .unwrap_or(0);
    for flag in OPTIONS {
        let default = flag.default.map(|default| format!(" (default: {default})"));
        let default = default.unwrap_or_default();
        text += &format!("  {:width$}  {}{default}\n", names(flag), flag.help);
    }
    text + "\nThe manual is tftpd(8).\n"
}

/// The text of `--version`.
pub fn version() -> String {
    format!(
        "tftpd {} ({})\n",
        env!("CARGO_PKG_VERSION"),
        env!("CARGO_PKG_NAME")
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::access::Access;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn a_directory_is_all_that_is_needed() {
        assert_eq!(
            parsed("-r /srv/tftp"),
            Ok(Command::Serve(Settings::from(PathBuf::from("/srv/tftp"))))
        );
        assert!(parsed("").is_err());
    }

    #[test]
    fn every_option_has_its_effect() {
        let line = "--root=. -n 3 -q5 -a 127.0.0.1:0 --listen [::1]:69 -t 9 -B 1468 -W 16 \
                    --no-mtu-clamp -vv --check --hold never --small-file 0 \
                    --keepalive-share 25 -u tftp:boot --chroot --no-sandbox --per-client 2 \
                    --per-client-pending 7 \
                    --allow ::1 --deny 192.0.2.0/24 --deny 10.0.0.0/8";
        let Ok(Command::Check(settings)) = parsed(line) else {
            panic!("a check was asked for")
        };
        assert_eq!(settings.limits.max_transfers, 3);
        assert_eq!(settings.limits.max_pending, 5);
        let limits = &settings.limits;
        assert_eq!((limits.per_client, limits.per_client_pending), (2, 7));
        assert!(!limits.spares_loopback);
        assert_eq!(settings.listen.len(), 2);
        assert_eq!(settings.limits.patience, Duration::from_secs(9));
        assert_eq!(settings.limits.terms.max_blksize, 1468);
        assert_eq!(settings.limits.terms.max_windowsize, 16);
        assert_eq!(settings.limits.hold, None);
        assert_eq!(settings.limits.small_file, 0);
        assert_eq!(settings.limits.keepalive_share, 25);
        let mut access = Access::default();
        let rules = [
            ("::1", Verdict::Allow),
            ("192.0.2.0/24", Verdict::Deny),
            ("10.0.0.0/8", Verdict::Deny),
        ];
        for (network, verdict) in rules {
            assert_eq!(access.add(network, verdict), Ok(()));
        }
        assert_eq!(settings.access, access);
        assert!(!settings.mtu_clamp);
        let user = settings.user.expect("a user was named");
        assert_eq!((&*user.user, user.group.as_deref()), ("tftp", Some("boot")));
        assert!(settings.chroot);
        assert!(!settings.sandbox);
        assert_eq!(settings.verbosity, 2);
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("-r . -n 0", "--max-transfers"),
            ("-r . --per-client 0", "--per-client"),
            ("-r . --per-client-pending -1", "--per-client-pending"),
            ("-r . -B 7", "--max-blksize"),
            ("-r . -W 65536", "--max-windowsize"),
            ("-r . -t 1h", "--timeout"),
            ("-r . --hold soon", "--hold"),
            ("-r . --keepalive-share 101", "--keepalive-share"),
            ("-r . --small-file 1k", "--small-file"),
            ("-r . -a nowhere", "--listen"),
            ("-r . -u tftp:", "--user"),
            ("-r . --allow lan", "--allow"),
            ("-r . --deny 192.0.2.0/33", "--deny"),
            ("-r . --allow ::1 --deny ::1", "both"),
            ("-r . --frobnicate", "frobnicate"),
            ("-r . more", "more"),
            ("-r . -n 1 -n 2", "n"),
        ];
        for (line, part) in cases {
            let message = parsed(line).expect_err(line);
            assert!(message.contains(part), "{line}: {message}");
        }
    }
}
