//! The command line: what was typed → what is meant.
//!
//! Each front door has one table, whose rows say all there is about an option: how it is typed, what it
//! changes, the words for it. `--help` is made from the table, and `tests/manual.rs` holds the man page
//! to it. Read `arguments` for how words become options, then `tftpd` and `values`, then `hpa`, which translates into the
//! language of `tftpd`.

mod arguments;
mod help;
mod hpa;
mod tftpd;
mod values;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::config::{Look, Probe, Settings};
pub use arguments::Names;
pub use help::text as help;
pub use hpa::in_tftpd_options;
pub use tftpd::OPTIONS;
use tftpd::Request;

/// One option: a row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// How it is typed.
    pub names: Names,
    /// tftpd-hpa's long name for the same.
    alias: Option<Names>,
    /// What it takes, and what it changes.
    takes: Takes,
    /// Whether it may be given more than once.
    pub repeats: bool,
    /// What it does.
    pub help: &'static str,
    /// What holds without it; empty if that is not worth a word.
    pub default: &'static str,
    /// What `--help` calls this option and those that follow, up to the next title.
    title: Option<&'static str>,
}

/// What an option takes, and what it changes.
#[derive(Clone, Copy, Debug)]
enum Takes {
    /// Nothing; instead of serving something else is asked for.
    Asks(Request),
    /// A text, for another mode: asking a server.
    Probes(fn(&mut Probe, &str) -> Result<(), String>),
    Nothing(fn(&mut Settings)),
    Text(fn(&mut Settings, &str) -> Result<(), String>),
    /// The name of a file or directory.
    Path(fn(&mut Settings, PathBuf) -> Result<(), String>),
}

impl Names {
    const fn takes(self, takes: Takes) -> Flag {
        Flag {
            names: self,
            alias: None,
            takes,
            repeats: false,
            help: "",
            default: "",
            title: None,
        }
    }
}

impl Flag {
    const fn help(self, help: &'static str) -> Flag {
        Flag { help, ..self }
    }

    const fn default(self, default: &'static str) -> Flag {
        Flag { default, ..self }
    }

    const fn alias(mut self, alias: &'static str) -> Flag {
        self.alias = Some(Names(alias));
        self
    }

    const fn repeatable(mut self) -> Flag {
        self.repeats = true;
        self
    }

    const fn titled(mut self, title: &'static str) -> Flag {
        self.title = Some(title);
        self
    }

    /// Makes the change.
    fn apply(&self, to: &mut Settings, value: OsString) -> Result<(), String> {
        match self.takes {
            Takes::Asks(_) => Ok(()),
            Takes::Probes(_) => Err("not without --probe".into()),
            Takes::Nothing(change) => {
                change(to);
                Ok(())
            }
            Takes::Path(change) => change(to, value.into()),
            Takes::Text(change) => match value.to_str() {
                Some(text) => change(to, text),
                None => Err(format!("'{}' is not UTF-8", value.display())),
            },
        }
    }
}

/// What the operator wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Serve.
    Serve(Settings),
    /// Look whether that would work.
    Check(Settings),
    /// Show a running server.
    Show(Look),
    /// Ask a server whether it serves.
    Probe(Probe),
    /// Show what the map makes of some names.
    MapTest(Settings),
    /// Print this.
    Print(Vec<u8>),
}

/// The front door, chosen by the name by which the program is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Program {
    /// Our own.
    Tftpd,
    /// The one of tftpd-hpa.
    InTftpd,
}

impl Program {
    /// The door for the first word of a command line.
    pub fn called(path: Option<OsString>) -> Program {
        match path.as_deref().and_then(|path| Path::new(path).file_name()) {
            Some(name) if name == "in.tftpd" => Program::InTftpd,
            _ => Program::Tftpd,
        }
    }

    /// Its name, before what it has to say.
    pub fn name(self) -> &'static str {
        match self {
            Program::Tftpd => "tftpd",
            Program::InTftpd => "in.tftpd",
        }
    }

    /// Understands the arguments that follow the program's name.
    ///
    /// # Errors
    /// What is wrong with them, for the operator.
    pub fn parse(self, arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
        match self {
            Program::Tftpd => {
                let help = |message| format!("{message}\nTry 'tftpd --help'.");
                tftpd::parse(arguments).map_err(help)
            }
            Program::InTftpd => hpa::parse(arguments),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::time::Duration;

    use super::*;
    use crate::access::{Access, Verdict};
    use crate::config::{Door, Families, Form, Listen, LogFormat, Ports};
    use crate::names::Unique;

    fn parsed(line: &str) -> Result<Command, String> {
        Program::Tftpd.parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn an_option_takes_the_value_that_its_names_promise() {
        for flag in OPTIONS {
            let takes_value = !matches!(flag.takes, Takes::Asks(_) | Takes::Nothing(_));
            assert_eq!(flag.names.value().is_some(), takes_value, "{flag:?}");
        }
    }

    #[test]
    fn a_directory_is_all_that_is_needed() {
        assert_eq!(
            parsed("-r /srv/tftp"),
            Ok(Command::Serve(Settings::from(PathBuf::from("/srv/tftp"))))
        );
        assert_eq!(parsed("/srv/tftp"), parsed("-r /srv/tftp"));
        assert_eq!(parsed("-4 -6 ./blksize"), parsed("-r ./blksize"));
        let roots = |line| match parsed(line) {
            Ok(Command::Serve(settings)) => settings.roots,
            other => panic!("{other:?}"),
        };
        assert_eq!(roots("-r b a -r c"), ["b", "c", "a"].map(PathBuf::from));
        let drain = |line| match parsed(line) {
            Ok(Command::Serve(settings)) => settings.rules.drain.as_secs(),
            other => panic!("{other:?}"),
        };
        assert_eq!(["x", "-b x", "-b x --drain 4"].map(drain), [3, 0, 4]);
        assert!(parsed("").is_err());
    }

    #[test]
    fn every_option_has_its_effect() {
        let line = "--root=. -n 3 -q5 -a [::2]:0 --listen [::1]:69 -t 9 -B 1468 -W 16 \
                    --no-mtu-clamp -vv --check --hold never --small-file 0 \
                    --keepalive-share 25 -u tftp:boot --chroot --no-sandbox --per-client 2 \
                    --per-client-pending 7 --drain 0 --lame-duck 8 \
                    --allow ::1 --deny 192.0.2.0/24 --deny 10.0.0.0/8 --public-only -6 -a :70 -b \
                    -P /run/tftpd.pid --syslog -R 4000-4099 --refuse TSIZE --secure --foreground \
                    -c -o --umask 027 --max-upload 5 --upload-dir a --upload-dir /b -m /etc/map \
                    --map-steps 9 -i --unique-root mac --access /etc/list \
                    --log-format json --stats s --control c";
        let Ok(Command::Check(settings)) = parsed(line) else {
            panic!("a check was asked for")
        };
        assert_eq!(settings.limits.max_transfers, 3);
        assert_eq!(settings.limits.max_pending, 5);
        assert_eq!(settings.rules.drain, Duration::ZERO);
        assert_eq!(settings.rules.lame_duck, Duration::from_secs(8));
        let limits = &settings.limits;
        assert_eq!((limits.per_client, limits.per_client_pending), (2, 7));
        assert!(!limits.spares_loopback);
        let listen: [&str; 2] = ["[::2]:0", "[::1]:69"];
        let listen = listen.map(|address| Listen::At(address.parse().expect("an address")));
        assert_eq!(
            settings.listen,
            [&listen[..], &[Listen::Every(70)]].concat()
        );
        assert_eq!(settings.families, Families::V6);
        assert_eq!(settings.ports, Ports::Range(4000..=4099));
        assert!(settings.public_only && settings.background && settings.syslog);
        assert_eq!(settings.pidfile, Some(PathBuf::from("/run/tftpd.pid")));
        let mut refused = settings.limits.terms.refused;
        assert!(refused.add(b"tsize") && refused == settings.limits.terms.refused);
        assert_eq!(settings.door, Door::Tftpd);
        assert_eq!(settings.log_format, LogFormat::Json);
        assert_eq!(settings.stats, Some(PathBuf::from("s")));
        assert_eq!(settings.control, Some(PathBuf::from("c")));
        let uploads = &settings.uploads;
        assert!(uploads.create && uploads.overwrite && !uploads.write_once);
        assert_eq!((uploads.umask, uploads.max), (0o027, 5));
        assert_eq!(uploads.directories, ["a", "/b"].map(PathBuf::from));
        assert_eq!(settings.names.map, Some(PathBuf::from("/etc/map")));
        assert_eq!(settings.access_file, Some(PathBuf::from("/etc/list")));
        let names = &settings.names;
        assert_eq!((names.map_steps, names.ignores_case), (9, true));
        assert_eq!(names.unique, Some(Unique::Hardware));
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
        assert_eq!(settings.rules.access, access);
        assert!(!settings.mtu_clamp);
        let user = settings.user.expect("a user was named");
        assert_eq!((&*user.user, user.group.as_deref()), ("tftp", Some("boot")));
        assert!(settings.chroot);
        assert!(!settings.sandbox);
        assert_eq!(settings.verbosity, 2);
    }

    #[test]
    fn a_running_server_is_found_by_its_socket() {
        let cases = [
            ("--status", Form::Live, "/run/tftpd.sock"),
            ("--status s", Form::Live, "s"),
            ("--once --control s", Form::Once, "s"),
            ("--status --json --once s", Form::Json, "s"),
        ];
        for (line, form, path) in cases {
            let path = path.into();
            assert_eq!(
                parsed(line),
                Ok(Command::Show(Look { path, form })),
                "{line}"
            );
        }
        assert!(parsed("--status a b").is_err_and(|error| error.contains("one socket")));
    }

    #[test]
    fn a_probe_goes_without_a_directory() {
        let probe = |server: &str, name: Option<&str>, seconds| {
            Ok(Command::Probe(Probe {
                server: server.parse().expect("an address"),
                name: name.map(Into::into),
                timeout: Duration::from_secs(seconds),
            }))
        };
        let cases = [
            ("--probe 192.0.2.1", probe("192.0.2.1:69", None, 2)),
            ("--probe :70 a/b", probe("127.0.0.1:70", Some("a/b"), 2)),
            ("--probe [::]:70", probe("[::1]:70", None, 2)),
            (
                "--probe 0.0.0.0 --probe-timeout 5",
                probe("127.0.0.1:69", None, 5),
            ),
        ];
        for (line, expected) in cases {
            assert_eq!(parsed(line), expected, "{line}");
        }
        for line in [
            "--probe host",
            "--probe ::1 -n 3",
            "--probe ::1 a b",
            "--probe ::1 --probe-timeout 0",
            "--probe-timeout 3",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_directory_may_have_any_name() {
        let name = OsStr::from_bytes(b"/srv/caf\xE9");
        let root = |command| match command {
            Ok(Command::Serve(mut settings)) => settings.roots.remove(0),
            other => panic!("{other:?}"),
        };
        assert_eq!(root(Program::Tftpd.parse(["-r".into(), name.into()])), name);
        let message = Program::Tftpd.parse(["-r".into(), ".".into(), "-u".into(), name.into()]);
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
            ("-r . -R 4000", "--port-range"),
            ("-r . -R 4000:4100 --single-port", "--single-port"),
            ("-r . --hold soon", "--hold"),
            ("-r . --keepalive-share 101", "--keepalive-share"),
            ("-r . --small-file 1k", "--small-file"),
            ("-r . -a nowhere", "--listen"),
            ("-r . -u tftp:", "--user"),
            ("-r . --allow lan", "--allow"),
            ("-r . --log-format xml", "text nor json"),
            ("-r . --deny 192.0.2.0/33", "--deny"),
            ("-r . --allow ::1 --deny ::1", "both"),
            ("-r . --frobnicate", "frobnicate"),
            ("-r . -i --map-test x", "-m FILE"),
            ("-r . --map-steps 0", "--map-steps"),
            ("-r . --unique-root name", "neither ip nor mac"),
            ("-r . --chroot more", "--chroot"),
            ("-r blksize", "--refuse"),
            ("rollover", "--refuse"),
            ("-r . -m 100", "-n"),
            ("-d .", "-r DIR"),
            ("-s .", "in.tftpd"),
            (
                "-r . --refuse blocksize",
                "blksize, timeout, tsize, windowsize",
            ),
            ("-r . -4 -a [::1]:69", "[::1]:69"),
            ("-r . -6 --address 192.0.2.1", "192.0.2.1"),
            ("-r . -B 512 --blocksize 600", "--blocksize"),
            ("-r . -n 1 -n 2", "n"),
            ("-r . -c -U 0o22", "--umask"),
            ("-r . -c --max-upload 0", "--max-upload"),
            ("-r . --upload-dir a", "-c or -o"),
            ("-r . -U 022", "-c or -o"),
            ("-r . --write-once", "-c"),
            ("-r . -o --write-once", "-c"),
        ];
        for (line, part) in cases {
            let message = parsed(line).expect_err(line);
            assert!(message.contains(part), "{line}: {message}");
        }
    }
}
