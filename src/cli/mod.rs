//! The command line: what was typed → what is meant.
//!
//! Each front door has one table, whose rows say all there is about an option: how it is typed, what it
//! changes, the words for it. `--help` is made from the table, and `tests/manual.rs` holds the man page
//! to it. Read `arguments` for how words become options.

mod arguments;
mod tftpd;

use std::ffi::OsString;
use std::path::PathBuf;

use crate::config::Settings;
use arguments::Spelling;
pub use tftpd::OPTIONS;
use tftpd::Request;

/// One option: a row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Its letter, if it has one.
    pub short: Option<char>,
    /// Its name.
    pub long: &'static str,
    /// What it takes, and what it changes.
    takes: Takes,
    /// Whether it may be given more than once.
    repeats: bool,
    /// What it does.
    pub help: &'static str,
    /// What holds without it, where that is worth a word.
    pub default: Option<&'static str>,
}

/// What an option takes, and what it changes.
#[derive(Clone, Copy, Debug)]
enum Takes {
    /// Nothing; instead of serving something else is asked for.
    Asks(Request),
    Nothing(fn(&mut Settings)),
    /// A value, by its name in texts.
    Text(&'static str, fn(&mut Settings, &str) -> Result<(), String>),
    /// A file or directory, by its name in texts.
    Path(&'static str, fn(&mut Settings, PathBuf)),
}

impl Flag {
    /// What its value is called, if it takes one.
    pub fn value(&self) -> Option<&'static str> {
        match self.takes {
            Takes::Asks(_) | Takes::Nothing(_) => None,
            Takes::Text(name, _) | Takes::Path(name, _) => Some(name),
        }
    }

    /// Makes the change.
    fn apply(&self, to: &mut Settings, value: OsString) -> Result<(), String> {
        match self.takes {
            Takes::Asks(_) => {}
            Takes::Nothing(change) => change(to),
            Takes::Path(_, change) => change(to, value.into()),
            Takes::Text(_, change) => match value.to_str() {
                Some(text) => change(to, text)?,
                None => return Err(format!("'{}' is not UTF-8", value.display())),
            },
        }
        Ok(())
    }
}

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
    let spellings: Vec<Spelling> = OPTIONS.iter().map(spelling).collect();
    let (given, operands) = arguments::read(&spellings, arguments)?;
    let asked = given
        .iter()
        .filter_map(|given| match OPTIONS[given.spelling].takes {
            Takes::Asks(request) => Some(request),
            Takes::Nothing(_) | Takes::Text(..) | Takes::Path(..) => None,
        });
    let asked = asked.max();
    match asked {
        Some(Request::Help) => return Ok(Command::Help),
        Some(Request::Version) => return Ok(Command::Version),
        Some(Request::Check) | None => {}
    }
    if let Some(extra) = operands.first() {
        return Err(format!("unexpected argument '{}'", extra.display()));
    }
    let mut settings = Settings::from(PathBuf::new());
    let mut seen = [false; OPTIONS.len()];
    for given in given {
        let flag = &OPTIONS[given.spelling];
        if std::mem::replace(&mut seen[given.spelling], true) && !flag.repeats {
            return Err(format!("--{}: given more than once", flag.long));
        }
        let applied = flag.apply(&mut settings, given.value);
        applied.map_err(|message| format!("--{}: {message}", flag.long))?;
    }
    if settings.root.as_os_str().is_empty() {
        return Err("the directory to serve is missing: -r DIR".into());
    }
    Ok(match asked {
        Some(_) => Command::Check(settings),
        None => Command::Serve(settings),
    })
}

fn spelling(flag: &Flag) -> Spelling {
    Spelling {
        short: flag.short,
        long: flag.long,
        has_value: flag.value().is_some(),
    }
}

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
            .value()
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
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::time::Duration;

    use super::*;
    use crate::access::{Access, Verdict};

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
                    --per-client-pending 7 --drain 0 \
                    --allow ::1 --deny 192.0.2.0/24 --deny 10.0.0.0/8";
        let Ok(Command::Check(settings)) = parsed(line) else {
            panic!("a check was asked for")
        };
        assert_eq!(settings.limits.max_transfers, 3);
        assert_eq!(settings.limits.max_pending, 5);
        assert_eq!(settings.drain, Duration::ZERO);
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
    fn a_directory_may_have_any_name() {
        let name = OsStr::from_bytes(b"/srv/caf\xE9");
        let root = |command| match command {
            Ok(Command::Serve(settings)) => settings.root,
            other => panic!("{other:?}"),
        };
        assert_eq!(root(parse(["-r".into(), name.into()])), name);
        let message = parse(["-r".into(), ".".into(), "-u".into(), name.into()]);
        assert!(message.is_err_and(|message| message.starts_with("--user: ")));
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
            ("-r . --drain 3601", "--drain"),
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
