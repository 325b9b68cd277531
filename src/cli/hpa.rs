//! The front door `in.tftpd`: the command line of tftpd-hpa, translated into that of `tftpd`.
//!
//! So there is one set of settings, and `--explain` prints the very line that is then understood. As there, an
//! option that is given again replaces the earlier one.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::arguments::{self, Given, Spelling};
use super::tftpd::{self, Request};
use super::{Command, help};
use crate::config::{Door, Settings};
use Means::{
    Address, Anyway, Asks, Blocksize, Explain, Family, Foreground, Ignored, Listen, Missing,
    Permissive, Refuse, RefuseAll, Same, Verbose, Verbosity,
};

/// What an option of tftpd-hpa means here.
#[derive(Clone, Copy, Debug)]
enum Means {
    /// This option of `tftpd`, with the same value.
    Same(&'static str),
    /// What this server does without being asked.
    Anyway,
    /// Nothing here; it is named in a warning.
    Ignored,
    /// Something that is not built: the start fails.
    Missing(&'static str),
    /// `-4`, `-6`: the last counts.
    Family(&'static str),
    Address,
    Blocksize,
    Explain,
    Asks(Request),
    Foreground,
    Listen,
    Permissive,
    Refuse,
    RefuseAll,
    Verbose,
    Verbosity,
}

/// Letter, long name, whether it takes a value, meaning.
type Entry = (Option<char>, &'static str, bool, Means);

/// The options of tftpd-hpa 5.2. An abbreviation that fits exactly one of these means it.
const OF_5_2: &[Entry] = &[
    (Some('4'), "ipv4", false, Family("--ipv4")),
    (Some('6'), "ipv6", false, Family("--ipv6")),
    (Some('c'), "create", false, Missing("uploads")),
    (Some('s'), "secure", false, Anyway),
    (Some('p'), "permissive", false, Permissive),
    (Some('v'), "verbose", false, Verbose),
    (None, "verbosity", true, Verbosity),
    (Some('V'), "version", false, Asks(Request::Version)),
    (Some('l'), "listen", false, Listen),
    (Some('L'), "foreground", false, Foreground),
    (Some('a'), "address", true, Address),
    (Some('B'), "blocksize", true, Blocksize),
    (Some('u'), "user", true, Same("--user")),
    (Some('U'), "umask", true, Ignored),
    (Some('r'), "refuse", true, Refuse),
    (Some('t'), "timeout", true, Ignored),
    (Some('T'), "retransmit", true, Ignored),
    (Some('R'), "port-range", true, Missing("a range of ports")),
    (Some('m'), "map-file", true, Missing("map files")),
    (Some('P'), "pidfile", true, Same("--pidfile")),
];

/// Those of later versions, and ours.
const LATER: &[Entry] = &[
    (None, "chroot", false, Anyway),
    (None, "jail", false, Anyway),
    (None, "read-only", false, Anyway),
    (Some('W'), "windowsize", true, Same("--windowsize")),
    (None, "window-bytes", true, Ignored),
    (None, "reject-all", false, RefuseAll),
    (None, "ports", true, Missing("a range of ports")),
    (
        Some('S'),
        "service",
        true,
        Missing("a port of its own; name it with -a"),
    ),
    (
        None,
        "port",
        true,
        Missing("a port of its own; name it with -a"),
    ),
    (None, "map-steps", true, Ignored),
    (None, "map-test", true, Missing("map files")),
    (None, "max-upload", true, Missing("uploads")),
    (None, "stderr", false, Foreground),
    (None, "systemd", false, Foreground),
    (None, "check", false, Asks(Request::Check)),
    (None, "explain", false, Explain),
    (None, "help", false, Asks(Request::Help)),
];

/// A line of tftpd-hpa in the words of `tftpd`.
#[derive(Default)]
struct Line {
    /// Options of `tftpd`; those of which the last counts are here once.
    words: Vec<(&'static str, Option<OsString>)>,
    ignored: Vec<String>,
    verbosity: u32,
    is_listening: bool,
    is_foreground: bool,
    is_permissive: bool,
    is_secure: bool,
    is_explained: bool,
    asks: Option<Request>,
}

/// Understands the arguments that follow the program's name.
///
/// # Errors
/// What is wrong with them, for the operator.
pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let entries = [OF_5_2, LATER].concat();
    let spellings: Vec<Spelling> = entries
        .iter()
        .map(|&(short, long, has_value, _)| Spelling {
            short,
            long,
            has_value,
        })
        .collect();
    let arguments = unabbreviated(&spellings, arguments.into_iter().collect())?;
    let read = arguments::read(&spellings, arguments);
    let (given, directories) = read.map_err(|fail| {
        let message = arguments::narrowed(&fail.to_string());
        format!("{}; in.tftpd(8) has the options", message.display())
    })?;
    let mut line = Line::default();
    for given in given {
        line.take(&entries[given.spelling], given)?;
    }
    match line.asks {
        Some(Request::Help) => return Ok(Command::Print(HELP.into())),
        Some(Request::Version) => return Ok(Command::Print(help::version().into())),
        Some(Request::Check) | None => {}
    }
    let ignored = std::mem::take(&mut line.ignored);
    let is_explained = line.is_explained;
    let words = line.translated(directories)?;
    let command = tftpd::parse(words.clone())?;
    let settled = |mut settings: Settings| {
        settings.door = Door::InTftpd { ignored };
        settings
    };
    Ok(match command {
        _ if is_explained => Command::Print(quoted(&words)),
        Command::Serve(settings) => Command::Serve(settled(settings)),
        Command::Check(settings) => Command::Check(settled(settings)),
        Command::Print(text) => Command::Print(text),
    })
}

impl Line {
    fn take(&mut self, entry: &Entry, given: Given) -> Result<(), String> {
        let &(short, long, has_value, means) = entry;
        let value = given.value;
        match means {
            Anyway => self.is_secure |= long == "secure",
            Same(ours) => self.replace(ours, value),
            Family(ours) => {
                self.words
                    .retain(|(word, _)| !["--ipv4", "--ipv6"].contains(word));
                self.words.push((ours, None));
            }
            Address => self.replace("--address", address(value)),
            Blocksize if value == "mtu" => self.words.retain(|(word, _)| *word != "--blocksize"),
            Blocksize => self.replace("--blocksize", value),
            Refuse => {
                let is_never_granted = |name: &&str| value.eq_ignore_ascii_case(name);
                if !NEVER_GRANTED.iter().any(is_never_granted) {
                    self.words.push(("--refuse", Some(value)));
                }
            }
            RefuseAll => {
                let all = ["blksize", "timeout", "tsize", "windowsize"];
                let all = all.map(|name| ("--refuse", Some(name.into())));
                self.words.extend(all);
            }
            Verbose => self.verbosity += 1,
            Verbosity => self.verbosity = value.to_str().and_then(|n| n.parse().ok()).unwrap_or(0),
            Permissive => self.is_permissive = true,
            Listen => self.is_listening = true,
            Foreground => self.is_foreground = true,
            Explain => self.is_explained = true,
            Asks(request) => self.asks = self.asks.max(Some(request)),
            Ignored => {
                let name = short.map_or(format!("--{long}"), |short| format!("-{short}"));
                let space = if has_value { " " } else { "" };
                self.ignored
                    .push(format!("{name}{space}{}", value.display()));
            }
            Missing(what) => return Err(format!("--{long}: this server does not have {what} yet")),
        }
        Ok(())
    }

    /// Only the last of these counts.
    fn replace(&mut self, option: &'static str, value: OsString) {
        self.words.retain(|(word, _)| *word != option);
        self.words.push((option, Some(value)));
    }

    /// The words of a command line of `tftpd`.
    fn translated(mut self, directories: Vec<OsString>) -> Result<Vec<OsString>, String> {
        match directories.len() {
            0 => return Err("the directory to serve is missing".into()),
            1 => {}
            _ if self.is_secure => return Err("--secure takes one directory".into()),
            _ => return Err("this server does not have several directories yet".into()),
        }
        let bare = [
            (self.asks == Some(Request::Check), "--check"),
            (!self.is_permissive, "--public-only"),
            (self.is_listening && !self.is_foreground, "--background"),
            (self.verbosity > 0, "--verbose"),
        ];
        let bare = bare.into_iter().filter(|(is_meant, _)| *is_meant);
        self.words.extend(bare.map(|(_, word)| (word, None)));
        let options = self.words.into_iter();
        let options = options
            .flat_map(|(word, value)| [Some(word.into()), value])
            .flatten();
        let root = directories
            .into_iter()
            .flat_map(|directory| ["-r".into(), directory]);
        Ok(options.chain(root).collect())
    }
}

/// `A:` and `A:tftp` mean the usual port.
fn address(value: OsString) -> OsString {
    let bytes = value.as_bytes();
    match bytes.strip_suffix(b":tftp").or(bytes.strip_suffix(b":")) {
        Some(b"") => OsString::from(":69"),
        Some(bare) if !bare.ends_with(b":") => OsStr::from_bytes(bare).to_owned(),
        Some(_) | None => value,
    }
}

/// Long names written out, as getopt_long(3) takes them.
fn unabbreviated(
    spellings: &[Spelling],
    arguments: Vec<OsString>,
) -> Result<Vec<OsString>, String> {
    let mut written_out = Vec::new();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let bytes = argument.as_bytes();
        if bytes == b"--" {
            written_out.push(argument);
            break;
        }
        let (argument, takes_next) = match bytes.strip_prefix(b"--") {
            Some(long) => long_name(spellings, long)?,
            None => {
                let letters = bytes.strip_prefix(b"-").unwrap_or_default();
                let has_value = |&letter: &u8| {
                    spellings
                        .iter()
                        .any(|known| known.has_value && known.short == Some(letter.into()))
                };
                let takes_next = letters.iter().position(has_value) == letters.len().checked_sub(1);
                let takes_next = takes_next && !letters.is_empty();
                (argument, takes_next)
            }
        };
        written_out.push(argument);
        if takes_next {
            written_out.extend(arguments.next());
        }
    }
    written_out.extend(arguments);
    Ok(written_out)
}

/// A long option with its name in full, and whether its value is the next argument.
fn long_name(spellings: &[Spelling], text: &[u8]) -> Result<(OsString, bool), String> {
    let end = text
        .iter()
        .position(|&byte| byte == b'=')
        .unwrap_or(text.len());
    let (name, value) = text.split_at(end);
    let (old, later) = spellings.split_at(OF_5_2.len());
    let of = |some: &[Spelling], fits: &dyn Fn(&[u8]) -> bool| -> Vec<Spelling> {
        let fitting = some.iter().filter(|known| fits(known.long.as_bytes()));
        fitting.copied().collect()
    };
    let exact = of(spellings, &|long| long == name);
    let begins = |long: &[u8]| long.starts_with(name);
    let mut meant = [exact, of(old, &begins), of(later, &begins)].into_iter();
    let meant = meant
        .find(|fitting| !fitting.is_empty())
        .unwrap_or_default();
    let in_full = |long: &str| OsString::from_vec([b"--", long.as_bytes(), value].concat());
    match meant[..] {
        [] => Ok((OsString::from_vec([b"--", text].concat()), false)),
        [one] => Ok((in_full(one.long), one.has_value && value.is_empty())),
        _ => {
            let names: Vec<String> = meant.iter().map(|of| format!("--{}", of.long)).collect();
            let name = OsStr::from_bytes(name).display();
            Err(format!("--{name} is ambiguous: {}", names.join(", ")))
        }
    }
}

/// A line of `tftpd` as one would type it in a shell.
fn quoted(words: &[OsString]) -> Vec<u8> {
    let is_plain = |&byte: &u8| byte.is_ascii_alphanumeric() || b"@%+=:,./_-".contains(&byte);
    let mut line = b"tftpd".to_vec();
    for word in words.iter().map(|word| word.as_bytes()) {
        line.push(b' ');
        match !word.is_empty() && word.iter().all(is_plain) {
            true => line.extend(word),
            false => {
                line.push(b'\'');
                for &byte in word {
                    match byte {
                        b'\'' => line.extend(b"'\\''"),
                        _ => line.push(byte),
                    }
                }
                line.push(b'\'');
            }
        }
    }
    line.push(b'\n');
    line
}

/// Options of TFTP that tftpd-hpa can refuse, and this server grants to nobody.
const NEVER_GRANTED: [&str; 3] = ["blksize2", "utimeout", "rollover"];

const HELP: &str = "\
Usage: in.tftpd [options] DIR

Takes the command line of tftpd-hpa; the manual in.tftpd(8) says what each option means here.
With --explain it prints the line of tftpd that means the same, with --check it looks whether
that would work.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    /// The options of `tftpd` that mean the same.
    #[track_caller]
    fn explained(line: &str) -> String {
        match parsed(&format!("--explain {line}")) {
            Ok(Command::Print(text)) => {
                let text = String::from_utf8(text).expect("text");
                let rest = text
                    .strip_prefix("tftpd ")
                    .and_then(|rest| rest.strip_suffix(" -r /d\n"));
                rest.map_or(text.clone(), str::to_owned)
            }
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn every_option_in_every_spelling() {
        let cases = [
            ("-s /d", "--public-only"),
            ("/d -s", "--public-only"),
            ("--permissive /d", "tftpd -r /d\n"),
            ("-vvvvsp /d", "--verbose"),
            ("-Lvvvp /d", "--verbose"),
            ("-p -v --verbosity 0 /d", "tftpd -r /d\n"),
            ("-p --verbosity=0 -v /d", "--verbose"),
            ("-pl /d", "--background"),
            ("-plL /d", "tftpd -r /d\n"),
            ("-p -L -l /d", "tftpd -r /d\n"),
            ("-pa :69 /d", "--address :69"),
            ("-pa:6969 /d", "--address :6969"),
            ("-p -a 0.0.0.0:tftp /d", "--address 0.0.0.0"),
            ("-p -a [::1]: /d", "--address '[::1]'"),
            ("-p -a : /d", "--address :69"),
            ("-p -a :tftp /d", "--address :69"),
            (
                "-p --address=192.0.2.1 -a 192.0.2.2:70 /d",
                "--address 192.0.2.2:70",
            ),
            ("-p -B1468 --bl 600 /d", "--blocksize 600"),
            ("-p -B mtu /d", "tftpd -r /d\n"),
            ("-p -B 600 --blocksize mtu /d", "tftpd -r /d\n"),
            ("-p -W 8 /d", "--windowsize 8"),
            ("-p -4 -6 /d", "--ipv6"),
            ("-p -6 --ipv4 /d", "--ipv4"),
            ("-p -u a --user b /d", "--user b"),
            (
                "-p -r blksize --refuse TSIZE -r utimeout /d",
                "--refuse blksize --refuse TSIZE",
            ),
            (
                "-p --reject-all /d",
                "--refuse blksize --refuse timeout --refuse tsize --refuse windowsize",
            ),
            (
                "-p -P /run/x.pid --pid /run/y.pid /d",
                "--pidfile /run/y.pid",
            ),
            ("--perm --read-only --systemd --jail /d", "tftpd -r /d\n"),
            ("-p -- /d", "tftpd -r /d\n"),
            ("-p --check /d", "--check"),
        ];
        for (line, expected) in cases {
            assert_eq!(explained(line), expected, "{line}");
        }
    }

    #[test]
    fn abbreviations_are_those_of_5_2_first() {
        for (line, expected) in [
            ("--s /d", "--public-only"),
            ("--a :69 --perm /d", "--address :69"),
            ("--us x --perm /d", "--user x"),
            ("--ref tsize --perm /d", "--refuse tsize"),
            ("-P --secure --perm /d", "--pidfile --secure"),
            ("-vP --s --perm /d", "--pidfile --s --verbose"),
        ] {
            assert_eq!(explained(line), expected, "{line}");
        }
        for (line, named) in [
            ("--ver /d", "--verbose, --verbosity, --version"),
            ("--verbo /d", "--verbose, --verbosity"),
            ("--re x /d", "--refuse, --retransmit"),
            ("--ip /d", "--ipv4, --ipv6"),
        ] {
            let message = parsed(line).expect_err(line);
            assert!(message.ends_with(named), "{line}: {message}");
        }
    }

    #[test]
    fn what_is_not_built_yet_is_no_secret() {
        for (line, named) in [
            ("-c -s /d", "uploads"),
            ("--create /d", "uploads"),
            ("-m /etc/map -s /d", "map files"),
            ("-R 4096:32767 -s /d", "range of ports"),
            ("/a /b", "several directories"),
            ("-s /a /b", "one directory"),
            ("-s", "directory to serve is missing"),
            ("-x /d", "'x'"),
            ("--frobnicate /d", "frobnicate"),
            ("-r frob /d", "--refuse"),
            ("-B 7 /d", "--blocksize"),
            ("-a nowhere /d", "--address"),
            ("-4 -a [::1]:69 /d", "[::1]:69"),
        ] {
            let message = parsed(line).expect_err(line);
            assert!(
                message.contains(named) && !message.contains('\n'),
                "{line}: {message}"
            );
        }
    }

    #[test]
    fn what_is_ignored_is_kept_for_the_log() {
        let Ok(Command::Serve(settings)) = parsed("-t 120 -s -T 1000000 --map-steps 9 -U 027 /d")
        else {
            panic!("a right line");
        };
        let ignored = ["-t 120", "-T 1000000", "--map-steps 9", "-U 027"].map(str::to_owned);
        assert_eq!(
            settings.door,
            Door::InTftpd {
                ignored: ignored.into()
            }
        );
    }
}
