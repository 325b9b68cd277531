//! The front door `in.tftpd`: the command line of tftpd-hpa, translated into that of `tftpd`.
//!
//! So there is one set of settings, and `--explain` prints the very line that is then understood. As there, an
//! option that is given again replaces the earlier one.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use getopts::Fail;

use super::arguments::{self, Names};
use super::{Command, tftpd};
use crate::config::Door;
use Means::{
    Address, Bare, Blocksize, Ignored, MapTest, Missing, Refuse, RefuseAll, Same, Verbosity,
};

/// What an option of tftpd-hpa means here.
#[derive(Clone, Copy, Debug)]
pub(super) enum Means {
    /// The first word instead of the second. Some words are ours alone: see [`Line::translated`].
    Bare(&'static str, &'static str),
    /// This option of `tftpd`, with the same value.
    Same(&'static str),
    /// Nothing here; it is named in a warning.
    Ignored,
    /// Something that this server does not have: the start fails.
    Missing(&'static str),
    Address,
    Blocksize,
    MapTest,
    Refuse,
    RefuseAll,
    Verbosity,
}

/// The options of tftpd-hpa 5.2. An abbreviation that fits exactly one of these means it.
const OF_5_2: &[(Names, Means)] = &[
    (Names("-4, --ipv4"), Bare("--ipv4", "--ipv6")),
    (Names("-6, --ipv6"), Bare("--ipv6", "--ipv4")),
    (Names("-c, --create"), Bare("--create", "")),
    (Names("-s, --secure"), Bare("--secure", "")),
    (Names("-p, --permissive"), Bare("--permissive", "")),
    (Names("-v, --verbose"), Bare("--verbose", "")),
    (Names("--verbosity N"), Verbosity),
    (Names("-V, --version"), Bare("--version", "")),
    (Names("-l, --listen"), Bare("--background", "")),
    (Names("-L, --foreground"), Bare("--foreground", "")),
    (Names("-a, --address [ADDR][:PORT]"), Address),
    (Names("-B, --blocksize N"), Blocksize),
    (Names("-u, --user USER"), Same("--user")),
    (Names("-U, --umask MASK"), Same("--umask")),
    (Names("-r, --refuse OPTION"), Refuse),
    (Names("-t, --timeout SECONDS"), Ignored),
    (Names("-T, --retransmit MICROSECONDS"), Ignored),
    (Names("-R, --port-range A:B"), Same("--port-range")),
    (Names("-m, --map-file FILE"), Same("--map-file")),
    (Names("-P, --pidfile FILE"), Same("--pidfile")),
];

/// Those of later versions, and ours.
const LATER: &[(Names, Means)] = &[
    (Names("--chroot"), Bare("--secure", "")),
    (Names("--jail"), Bare("--secure", "")),
    (Names("--read-only"), Bare("--read-only", "")),
    (Names("-W, --windowsize N"), Same("--windowsize")),
    (Names("--window-bytes N"), Ignored),
    (Names("--reject-all"), RefuseAll),
    (Names("--ports A:B"), Same("--port-range")),
    (Names("-S, --service NAME"), Missing(DEFAULT_PORT)),
    (Names("--port NAME"), Missing(DEFAULT_PORT)),
    (Names("--map-steps N"), Same("--map-steps")),
    (Names("--map-test FILE"), MapTest),
    (Names("--max-upload BYTES"), Same("--max-upload")),
    (Names("--stderr"), Bare("--foreground", "")),
    (Names("--systemd"), Bare("--foreground", "")),
    (Names("--explain"), Bare("--explain", "")),
    (Names("--check"), Bare("--check", "")),
    (Names("--help"), Bare("--help", "")),
];

const DEFAULT_PORT: &str = "a default port; name it with -a";

/// How the options of `in.tftpd` are typed.
pub fn in_tftpd_options() -> Vec<Names> {
    let rows = OF_5_2.iter().chain(LATER);
    rows.map(|&(names, _)| names).collect()
}

/// A line of tftpd-hpa in the words of `tftpd`.
#[derive(Default)]
struct Line {
    words: Vec<(&'static str, Option<OsString>)>,
    ignored: Vec<String>,
}

/// Understands the arguments that follow the program's name.
///
/// # Errors
/// What is wrong with them, for the operator.
pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let known = in_tftpd_options();
    let arguments = unabbreviated(&known, arguments.into_iter().collect())?;
    let read = arguments::read(&known, arguments);
    let read = read.map_err(|fail| format!("{}; see in.tftpd(8)", arguments::message(&fail)));
    let (given, directories) = read?;
    let rows = [OF_5_2, LATER].concat();
    let mut line = Line::default();
    for (number, value) in given {
        let (names, means) = rows[number];
        line.take(names, means, value)?;
    }
    if line.remove("--help") {
        return Ok(Command::Print(HELP.into()));
    }
    let is_explained = line.remove("--explain");
    let ignored = std::mem::take(&mut line.ignored);
    let words = line.translated(directories)?;
    let mut command = tftpd::parse(words.clone())?;
    match &mut command {
        Command::Print(_) | Command::Show(_) | Command::Probe(_) => {}
        _ if is_explained => return Ok(Command::Print(quoted(&words, &ignored))),
        Command::Serve(settings) | Command::Check(settings) | Command::MapTest(settings) => {
            settings.door = Door::InTftpd { ignored };
        }
    }
    Ok(command)
}

impl Line {
    fn take(&mut self, names: Names, means: Means, value: OsString) -> Result<(), String> {
        match means {
            Bare(word, instead_of) => {
                self.remove(instead_of);
                self.replace(word, None);
            }
            Same(option) => self.replace(option, Some(value)),
            Address => self.replace("--address", Some(address(value))),
            Blocksize if value == "mtu" => drop(self.remove("--blocksize")),
            MapTest => {
                self.replace("--map-file", Some(value));
                self.replace("--map-test", Some("-".into()));
            }
            Blocksize => self.replace("--blocksize", Some(value)),
            Refuse => {
                let is_this = |name: &&str| value.eq_ignore_ascii_case(name);
                if !NEVER_GRANTED.iter().any(is_this) {
                    self.words.push(("--refuse", Some(value)));
                }
            }
            RefuseAll => {
                let all = ["blksize", "timeout", "tsize", "windowsize"];
                self.words
                    .extend(all.map(|name| ("--refuse", Some(name.into()))));
            }
            Verbosity => match value.to_str().map(str::parse::<u32>) {
                Some(Ok(1..)) => self.replace("--verbose", None),
                _ => drop(self.remove("--verbose")),
            },
            Ignored => {
                let short = names.short().map(|letter| format!("-{letter}"));
                let name = short.unwrap_or_else(|| format!("--{}", names.long()));
                self.ignored.push(format!("{name} {}", value.display()));
            }
            Missing(what) => {
                let name = names.long();
                return Err(format!("--{name}: this server does not have {what}"));
            }
        }
        Ok(())
    }

    /// Only the last of these counts.
    fn replace(&mut self, option: &'static str, value: Option<OsString>) {
        self.remove(option);
        self.words.push((option, value));
    }

    fn has(&self, option: &str) -> bool {
        self.words.iter().any(|(word, _)| *word == option)
    }

    /// Returns whether it was there.
    fn remove(&mut self, option: &str) -> bool {
        let is_there = self.has(option);
        self.words.retain(|(word, _)| *word != option);
        is_there
    }

    /// Without `-c` files that are there may be written, and without `-p` and `-U` new ones by everybody.
    fn translate_uploads(&mut self, is_permissive: bool) {
        if self.remove("--read-only") {
            for word in ["--create", "--umask", "--max-upload"] {
                self.remove(word);
            }
        } else if !self.has("--create") {
            self.remove("--umask");
            self.words.push(("--overwrite", None));
        } else if !is_permissive && !self.has("--umask") {
            self.words.push(("--umask", Some("000".into())));
        }
    }

    /// The words of a command line of `tftpd`.
    fn translated(mut self, directories: Vec<OsString>) -> Result<Vec<OsString>, String> {
        let is_secure = self.remove("--secure");
        let is_permissive = self.remove("--permissive");
        if !is_permissive {
            self.words.push(("--public-only", None));
        }
        self.translate_uploads(is_permissive);
        if self.remove("--foreground") {
            self.remove("--background");
        }
        let needs_none = self.has("--version") || self.has("--map-test");
        if directories.is_empty() && !needs_none {
            return Err("the directory to serve is missing".into());
        }
        if is_secure && directories.len() > 1 {
            return Err("--secure takes one directory".into());
        }
        let words = self.words.into_iter();
        let words = words.flat_map(|(word, value)| [Some(word.into()), value]);
        let directories = directories.into_iter();
        let roots = directories.flat_map(|directory| ["-r".into(), directory]);
        Ok(words.flatten().chain(roots).collect())
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
fn unabbreviated(known: &[Names], mut arguments: Vec<OsString>) -> Result<Vec<OsString>, String> {
    for place in 0..arguments.len() {
        let before = arguments::read(known, arguments[..place].iter().cloned());
        // The value of the option before it.
        if let Err(Fail::ArgumentMissing(_)) = before {
            continue;
        }
        match arguments[place].as_bytes().strip_prefix(b"--") {
            Some(b"") => break,
            Some(long) => arguments[place] = in_full(known, long)?,
            None => {}
        }
    }
    Ok(arguments)
}

/// A long option with its name in full: an abbreviation of one of 5.2, else of another. What is none stays.
fn in_full(known: &[Names], text: &[u8]) -> Result<OsString, String> {
    let end = text.iter().position(|&byte| byte == b'=');
    let (name, value) = text.split_at(end.unwrap_or(text.len()));
    let (old, later) = known.split_at(OF_5_2.len());
    let longs = |some: &[Names]| Vec::from_iter(some.iter().map(|names| names.long()));
    let begin = |some| {
        let mut longs = longs(some);
        longs.retain(|long| long.as_bytes().starts_with(name));
        longs
    };
    let mut meant = [begin(old), begin(later)].into_iter();
    let meant = meant.find(|fitting| !fitting.is_empty());
    let exact = longs(known)
        .into_iter()
        .find(|long| long.as_bytes() == name);
    let meant = exact.map_or(meant.unwrap_or_default(), |exact| vec![exact]);
    match meant[..] {
        [] => Ok(OsString::from_vec([b"--", text].concat())),
        [one] => Ok(OsString::from_vec([b"--", one.as_bytes(), value].concat())),
        _ => {
            let name = OsStr::from_bytes(name).display();
            let names = meant.join(", --");
            Err(format!("--{name} is ambiguous: --{names}"))
        }
    }
}

/// A line of `tftpd` as one would type it in a shell, with a comment that names what is ignored.
fn quoted(words: &[OsString], ignored: &[String]) -> Vec<u8> {
    let is_plain = |&byte: &u8| byte.is_ascii_alphanumeric() || b"@%+=:,./_-".contains(&byte);
    let mut line = b"tftpd".to_vec();
    for word in words.iter().map(|word| word.as_bytes()) {
        line.push(b' ');
        match !word.is_empty() && word.iter().all(is_plain) {
            true => line.extend(word),
            false => {
                let parts: Vec<&[u8]> = word.split(|&byte| byte == b'\'').collect();
                line.extend([b"'", &parts.join(&b"'\\''"[..])[..], b"'"].concat());
            }
        }
    }
    if !ignored.is_empty() {
        let ignored = ignored.join(", ");
        line.extend(format!(" # ignored: {}", ignored.escape_debug()).into_bytes());
    }
    line.push(b'\n');
    line
}

/// Options of TFTP that tftpd-hpa can refuse and this server never grants.
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

    /// The options of `tftpd` that mean the same, but for the one that every line without `-c` has.
    #[track_caller]
    fn explained(line: &str) -> String {
        match parsed(&format!("--explain {line}")) {
            Ok(Command::Print(text)) => {
                let text = String::from_utf8(text).expect("text");
                let text = text.replacen(" --overwrite", "", 1);
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
            ("-p -t 120 -T 5 /d", "tftpd -r /d # ignored: -t 120, -T 5\n"),
        ];
        for (line, expected) in cases {
            assert_eq!(explained(line), expected, "{line}");
        }
    }

    #[test]
    fn uploads_are_those_of_tftpd_hpa() {
        for (line, expected) in [
            ("/d", "--public-only --overwrite"),
            ("-p /d", "--overwrite"),
            ("-U 027 /d", "--public-only --overwrite"),
            ("-c /d", "--create --public-only --umask 000"),
            ("-cp /d", "--create"),
            ("-c -U 027 /d", "--create --umask 027 --public-only"),
            ("-p -U 002 -c -U 027 --create /d", "--umask 027 --create"),
            ("-pc --max-upload 9 /d", "--create --max-upload 9"),
            ("-p --max-upload 9 /d", "--max-upload 9 --overwrite"),
            ("-pc -U 027 --read-only --max-upload 9 /d", ""),
        ] {
            let Ok(Command::Print(text)) = parsed(&format!("--explain {line}")) else {
                panic!("{line}");
            };
            let expected = format!("tftpd {expected} -r /d\n").replace("  ", " ");
            assert_eq!(String::from_utf8(text), Ok(expected), "{line}");
        }
        for line in ["-c -U 8 /d", "-c -U 1000 /d", "-c --max-upload 0 /d"] {
            assert!(parsed(line).is_err(), "{line}");
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
            ("-vP --s --perm /d", "--verbose --pidfile --s"),
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
    fn a_wrong_line_is_named() {
        for (line, named) in [
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
        let Ok(Command::Serve(settings)) = parsed("-t 120 -s -T 1000000 --window-bytes 9 /d")
        else {
            panic!("a right line");
        };
        let ignored = ["-t 120", "-T 1000000", "--window-bytes 9"].map(str::to_owned);
        assert_eq!(
            settings.door,
            Door::InTftpd {
                ignored: ignored.into()
            }
        );
    }
}
