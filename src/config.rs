//! Checked settings: a [`Settings`] makes sense.
//!
//! The bounds of each number stand here, beside the defaults of the rooms they belong to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::access::Access;
use crate::names::Unique;
use crate::names::map::STEPS_MAX;
use crate::server::Limits;
use crate::transfer::options::{BLKSIZE_MAX, BLKSIZE_MIN, Refused};

/// Everything that the operator may set: what is needed to start, and the [`Rules`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The directories served, searched in this order.
    pub roots: Vec<PathBuf>,
    /// How the names of files are made of what clients ask for.
    pub names: NameSettings,
    /// Names to be shown to the operator as the map makes them, instead of serving.
    pub map_tests: Vec<Box<[u8]>>,
    /// A file of networks, beside those of [`Rules::access`].
    pub access_file: Option<PathBuf>,
    /// What the loop reads each time.
    pub rules: Rules,
    /// Serve only files that others may read (o+r), and replace only those that others may write to (o+w), as
    /// tftpd-hpa does.
    pub public_only: bool,
    /// What clients may write.
    pub uploads: Uploads,
    /// Where to listen; empty: port 69 of every address.
    pub listen: Vec<Listen>,
    /// The families in which every address is listened on.
    pub families: Families,
    /// Where transfers take place.
    pub ports: Ports,
    /// The bounds of the server.
    pub limits: Limits,
    /// The operator has chosen how many may wait (`-q`).
    pub queue_is_chosen: bool,
    /// Grant no block size that the path would cut into fragments.
    pub mtu_clamp: bool,
    /// The account to switch to once the addresses are bound; `None`: the usual one if started as root, else no change.
    pub user: Option<UserName>,
    /// Make the directory served the root of all paths.
    pub chroot: bool,
    /// Confine the process to the directory and to the system calls it needs.
    pub sandbox: bool,
    /// 0: as `RUST_LOG` says, else one line for each transfer; 1: debug; 2 and more: trace.
    pub verbosity: usize,
    /// Leave the terminal once the addresses are listened on; the log goes to syslog, and no transfer is waited for at
    /// the end.
    pub background: bool,
    /// Where to write the process number.
    pub pidfile: Option<PathBuf>,
    /// Log to syslog instead of standard error.
    pub syslog: bool,
    /// How lines of the log are written.
    pub log_format: LogFormat,
    /// The file that statistics are written to.
    pub stats: Option<PathBuf>,
    /// The UNIX socket at which the server can be looked at.
    pub control: Option<PathBuf>,
    /// The command line that was spoken.
    pub door: Door,
}

/// What clients may write: nothing, unless one of the first two says so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Uploads {
    /// New files, and those that are there.
    pub create: bool,
    /// Files that are there.
    pub overwrite: bool,
    /// Of these none after all.
    pub write_once: bool,
    /// The bits of its mode that a new file does not have.
    pub umask: u32,
    /// Bytes of a file.
    pub max: u64,
    /// Directories beneath which files may be written, absolute or from the first root; none: beneath that root.
    pub directories: Vec<PathBuf>,
}

impl Uploads {
    /// Something may be written.
    pub fn are_on(&self) -> bool {
        self.create || self.overwrite
    }
}

/// How the names of files are made of what clients ask for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NameSettings {
    /// The file of rules.
    pub map: Option<PathBuf>,
    /// Rules that are tried for one request.
    pub map_steps: u32,
    /// Letters match in either case.
    pub ignores_case: bool,
    /// Clients may have directories of their own.
    pub unique: Option<Unique>,
}

/// What may be changed while the server runs: nothing that is open or under way rests on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Whose packets are looked at.
    pub access: Access,
    /// How long requests are served after the signal to stop, and probes are not.
    pub lame_duck: Duration,
    /// How long transfers may go on after the signal to stop.
    pub drain: Duration,
}

/// Whether another server serves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probe {
    /// Whom to ask.
    pub server: SocketAddr,
    /// What for; `None`: for what no server has.
    pub name: Option<Vec<u8>>,
    /// How long an answer is waited for.
    pub timeout: Duration,
}

/// The command line that was spoken. Beside a socket that was handed over, `-a` is an error in one and ignored
/// in the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Door {
    /// `tftpd`
    Tftpd,
    /// `in.tftpd`, the language of tftpd-hpa.
    InTftpd {
        /// The options that have no meaning here, as they were typed.
        ignored: Vec<String>,
    },
}

/// Where to listen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listen {
    /// On this port of every address.
    Every(u16),
    /// On one address; the unspecified one of IPv6 takes IPv4 as well.
    At(SocketAddr),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Every(port) => write!(f, ":{port}"),
            Listen::At(address) => address.fmt(f),
        }
    }
}

/// Families of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Families {
    /// Those that the machine has.
    Both,
    /// IPv4
    V4,
    /// IPv6
    V6,
}

/// Where transfers take place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ports {
    /// Each at a port of its own that the system picks.
    Any,
    /// Each at a port of this range, or several at one.
    Range(RangeInclusive<u16>),
    /// All at the port that is listened on.
    Single,
}

/// The settings of a command line that names only a directory.
impl From<PathBuf> for Settings {
    fn from(root: PathBuf) -> Settings {
        Settings {
            roots: vec![root],
            names: NameSettings {
                map: None,
                map_steps: STEPS_MAX,
                ignores_case: false,
                unique: None,
            },
            map_tests: Vec::new(),
            access_file: None,
            rules: Rules {
                access: Access::default(),
                lame_duck: Duration::ZERO,
                drain: DRAIN_USUAL,
            },
            public_only: false,
            uploads: Uploads {
                create: false,
                overwrite: false,
                write_once: false,
                umask: UMASK_USUAL,
                max: u64::MAX,
                directories: Vec::new(),
            },
            listen: Vec::new(),
            families: Families::Both,
            ports: Ports::Any,
            limits: Limits::default(),
            queue_is_chosen: false,
            mtu_clamp: true,
            user: None,
            chroot: false,
            sandbox: true,
            verbosity: 0,
            background: false,
            pidfile: None,
            syslog: false,
            log_format: LogFormat::Text,
            stats: None,
            control: None,
            door: Door::Tftpd,
        }
    }
}

/// A look at a running server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Look {
    /// The UNIX socket that it answers at.
    pub path: PathBuf,
    /// How it is shown.
    pub form: Form,
}

/// How a running server is shown; the last counts most.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Form {
    /// Live, where there is a terminal.
    Live,
    /// As text, once.
    Once,
    /// As it answers.
    Json,
}

/// Where `--status` looks if no path is named.
pub const CONTROL_USUAL: &str = "/run/tftpd.sock";

/// How lines of the log are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// In words.
    Text,
    /// One JSON object a line.
    Json,
}

/// An account as the operator names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UserName {
    /// Name or number of the user.
    pub user: String,
    /// Name or number of the group; `None`: the one of the user.
    pub group: Option<String>,
}

/// The first address to listen on that is not of the families wanted.
pub fn of_other_family(settings: &Settings) -> Option<SocketAddr> {
    let mut listen = settings.listen.iter();
    listen.find_map(|listen| match (*listen, settings.families) {
        (Listen::At(address), Families::V4) => Some(address).filter(SocketAddr::is_ipv6),
        (Listen::At(address), Families::V6) => Some(address).filter(SocketAddr::is_ipv4),
        (Listen::At(_), Families::Both) | (Listen::Every(_), _) => None,
    })
}

/// Takes a file of rules. Some who know atftpd mean something else.
///
/// # Errors
/// It is a number.
pub fn map_file(path: PathBuf) -> Result<PathBuf, String> {
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    match path.to_str().filter(|text| is_number(text)) {
        Some(number) => Err(format!("'{number}' is no file; atftpd's -m is -n here")),
        None => Ok(path),
    }
}

/// Reads what the directories of clients are called.
///
/// # Errors
/// What is wrong with it, for the operator.
pub fn unique(text: &str) -> Result<Unique, String> {
    match text {
        "ip" => Ok(Unique::Address),
        "mac" => Ok(Unique::Hardware),
        _ => Err(format!("'{text}' is neither ip nor mac")),
    }
}

/// Rules that are tried for one request: at least one, and no more than take a moment.
pub const MAP_STEPS: RangeInclusive<u64> = 1..=1_000_000;

/// Most directories that are served: each is searched for every name that those before it have not.
pub const ROOTS_MAX: usize = 16;

/// Most addresses that are listened on.
pub const LISTEN_MAX: usize = 64;

/// The port of TFTP (RFC 1350 section 4).
pub const PORT: u16 = 69;

/// Slots: at least one, and no more than a system has sockets for.
pub const MAX_TRANSFERS: RangeInclusive<u64> = 1..=100_000;
/// Those who wait cost memory only, but each costs some.
pub const MAX_PENDING: RangeInclusive<u64> = 0..=1_000_000;
/// Of one address; no more than there are slots for.
pub const PER_CLIENT: RangeInclusive<u64> = MAX_TRANSFERS;
/// Of one address; no more than may wait in all.
pub const PER_CLIENT_PENDING: RangeInclusive<u64> = MAX_PENDING;
/// A range of ports. Lower ones need a privilege, which is given up.
pub const PORT_RANGE: RangeInclusive<u64> = 1024..=u16::MAX as u64;
/// Seconds of silence; a client that is slower than an hour is none.
pub const TIMEOUT: RangeInclusive<u64> = 1..=3600;
/// Seconds in which a stopping server lets transfers finish.
pub const DRAIN: RangeInclusive<u64> = 0..=3600;
/// Seconds until a load balancer has noticed.
pub const LAME_DUCK: RangeInclusive<u64> = 0..=3600;
/// Seconds that a probe waits.
pub const PROBE_TIMEOUT: RangeInclusive<u64> = 1..=60;
/// Most firmware waits for a first answer at least 5 seconds.
pub const DRAIN_USUAL: Duration = Duration::from_secs(3);
/// Seconds until a waiting client is answered; no firmware waits longer.
pub const HOLD: RangeInclusive<u64> = 0..=300;
/// Percent of the output.
pub const KEEPALIVE_SHARE: RangeInclusive<u64> = 1..=100;
/// Bytes of a file.
pub const SMALL_FILE: RangeInclusive<u64> = 0..=u64::MAX;
/// Bytes in a block (RFC 2348).
pub const MAX_BLKSIZE: RangeInclusive<u64> = BLKSIZE_MIN as u64..=BLKSIZE_MAX as u64;
/// Blocks in a window (RFC 7440).
pub const MAX_WINDOWSIZE: RangeInclusive<u64> = 1..=u16::MAX as u64;

/// Bytes of a file that is uploaded.
pub const MAX_UPLOAD: RangeInclusive<u64> = 1..=u64::MAX;
/// New files can be read by everybody, as those of most programs.
pub const UMASK_USUAL: u32 = 0o022;
/// Most directories for uploads.
pub const UPLOAD_DIRECTORIES_MAX: usize = 64;

/// Reads a umask: octal digits.
///
/// # Errors
/// What is wrong with it, for the operator.
pub fn umask(text: &str) -> Result<u32, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mask = u32::from_str_radix(text, 8).ok();
    mask.filter(|&mask| digits && mask <= 0o777)
        .ok_or_else(|| format!("'{text}' is not an octal number from 0 to 777"))
}

/// Adds a directory for uploads.
///
/// # Errors
/// There are [`UPLOAD_DIRECTORIES_MAX`] already.
pub fn upload_directory(directories: &mut Vec<PathBuf>, path: PathBuf) -> Result<(), String> {
    if directories.len() == UPLOAD_DIRECTORIES_MAX {
        return Err(format!("more than {UPLOAD_DIRECTORIES_MAX} directories"));
    }
    directories.push(path);
    Ok(())
}

/// Reads a number in plain digits.
///
/// # Errors
/// What is wrong with it, for the operator.
pub fn number<T: TryFrom<u64>>(text: &str, range: RangeInclusive<u64>) -> Result<T, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text
        .parse()
        .ok()
        .filter(|number| digits && range.contains(number));
    let number = number.and_then(|number: u64| T::try_from(number).ok());
    number.ok_or_else(|| {
        format!(
            "'{text}' is not a number from {} to {}",
            range.start(),
            range.end()
        )
    })
}

/// Reads a number of seconds.
///
/// # Errors
/// What is wrong with it, for the operator.
pub fn seconds(text: &str, range: RangeInclusive<u64>) -> Result<Duration, String> {
    number(text, range).map(Duration::from_secs)
}

/// Reads after how long a waiting client is answered: a number of seconds, or `never`.
///
/// # Errors
/// What is wrong with it, for the operator.
pub fn hold(text: &str) -> Result<Option<Duration>, String> {
    match text {
        "never" => Ok(None),
        _ => seconds(text, HOLD)
            .map(Some)
            .map_err(|wrong| format!("{wrong}, and not 'never'")),
    }
}

/// Reads how the log is to be written: `text` or `json`.
///
/// # Errors
/// It is neither.
pub fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("'{text}' is neither text nor json")),
    }
}

/// Reads a range of ports: `A:B`, `A-B` or `A,B`.
///
/// # Errors
/// What is wrong with it, for the operator.
pub fn port_range(text: &str) -> Result<Ports, String> {
    let (first, last) = text.split_once([':', '-', ',']).unwrap_or((text, ""));
    let first: u16 = number(first, PORT_RANGE)?;
    let last = number(last, PORT_RANGE)?;
    match first <= last {
        true => Ok(Ports::Range(first..=last)),
        false => Err(format!("{first} is above {last}")),
    }
}

/// Reads which server to ask: an address as of [`listen_address`]; where that is every address, this machine.
///
/// # Errors
/// What is wrong with it, for the operator.
pub fn probe_address(text: &str) -> Result<SocketAddr, String> {
    let mut server = match listen_address(text)? {
        Listen::Every(port) => SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        Listen::At(address) => address,
    };
    if server.ip().is_unspecified() {
        server.set_ip(match server {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    Ok(server)
}

/// Reads an account: `USER` or `USER:GROUP`.
///
/// # Errors
/// What is wrong with it, for the operator.
pub fn user_name(text: &str) -> Result<UserName, String> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    if user.is_empty() || group.is_some_and(|group| group.is_empty() || group.contains(':')) {
        return Err(format!("'{text}' is not USER or USER:GROUP"));
    }
    Ok(UserName {
        user: user.into(),
        group: group.map(str::to_owned),
    })
}

/// Adds a directory to serve. Some who know tftpd-hpa mean something else.
///
/// # Errors
/// It has the name of an option of TFTP (such a directory is `./blksize`) or none, or there are [`ROOTS_MAX`] already.
pub fn root(roots: &mut Vec<PathBuf>, path: PathBuf) -> Result<(), String> {
    let names = "blksize blksize2 tsize timeout utimeout rollover windowsize";
    match path
        .to_str()
        .filter(|path| names.split(' ').any(|name| name == *path))
    {
        Some(name) => Err(format!(
            "'{name}' is no directory; tftpd-hpa's -r is --refuse here"
        )),
        None if path.as_os_str().is_empty() => Err("a directory without a name".into()),
        None if roots.len() == ROOTS_MAX => Err(format!("more than {ROOTS_MAX} directories")),
        None => {
            roots.push(path);
            Ok(())
        }
    }
}

/// Adds an option of TFTP to those that are never granted.
///
/// # Errors
/// There is no such option.
pub fn refuse(refused: &mut Refused, name: &str) -> Result<(), String> {
    match refused.add(name.as_bytes()) {
        true => Ok(()),
        false => Err(format!(
            "'{name}' is none of blksize, timeout, tsize, windowsize"
        )),
    }
}

/// Adds where to listen.
///
/// # Errors
/// As [`listen_address`], or there are [`LISTEN_MAX`] already.
pub fn listen(addresses: &mut Vec<Listen>, text: &str) -> Result<(), String> {
    if addresses.len() == LISTEN_MAX {
        return Err(format!("more than {LISTEN_MAX} addresses"));
    }
    addresses.push(listen_address(text)?);
    Ok(())
}

/// Reads where to listen: `ADDR`, `ADDR:PORT`, `[V6]:PORT`, `[V6]`, or `:PORT` for every address.
///
/// # Errors
/// What is wrong with it, for the operator.
pub fn listen_address(text: &str) -> Result<Listen, String> {
    let port = text
        .strip_prefix(':')
        .map(|port| number(port, 0..=u16::MAX.into()));
    if let Some(Ok(port)) = port {
        return Ok(Listen::Every(port));
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let in_brackets = bare
        .and_then(|bare| bare.parse::<Ipv6Addr>().ok())
        .map(IpAddr::V6);
    let without_port = text
        .parse()
        .ok()
        .or(in_brackets)
        .map(|ip| SocketAddr::new(ip, PORT));
    let canonical = |address: SocketAddr| match address.ip().to_canonical() {
        IpAddr::V4(v4) => SocketAddr::from((v4, address.port())),
        IpAddr::V6(_) => address,
    };
    text.parse()
        .ok()
        .or(without_port)
        .map(|address| Listen::At(canonical(address)))
        .ok_or_else(|| {
            format!(
                "'{text}' is not an address like 192.0.2.1, 192.0.2.1:69, 2001:db8::1, [::]:69 or :69"
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_and_without_a_port() {
        let cases = [
            ("192.0.2.1", "192.0.2.1:69"),
            ("192.0.2.1:6969", "192.0.2.1:6969"),
            ("::", "[::]:69"),
            ("[::1]", "[::1]:69"),
            ("[::1]:0", "[::1]:0"),
            ("[::ffff:192.0.2.1]:69", "192.0.2.1:69"),
            ("[fe80::1%2]:69", "[fe80::1%2]:69"),
        ];
        for (text, expected) in cases {
            let expected = Listen::At(expected.parse().expect("an address"));
            assert_eq!(listen_address(text), Ok(expected));
        }
        assert_eq!(listen_address(":69"), Ok(Listen::Every(69)));
        for text in [
            "",
            "tftp.example",
            "192.0.2.1:",
            "192.0.2.1:65536",
            "[192.0.2.1]",
            ":",
            ":65536",
            ":69x",
        ] {
            assert!(listen_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ranges_of_ports() {
        for text in ["1024:65535", "1024-65535", "1024,65535"] {
            assert_eq!(port_range(text), Ok(Ports::Range(1024..=65535)));
        }
        assert_eq!(port_range("4096:4096"), Ok(Ports::Range(4096..=4096)));
        for text in [
            "",
            "4096",
            "4096:",
            ":4096",
            "2000:1999",
            "1023:2000",
            "2000:65536",
        ] {
            assert!(port_range(text).is_err(), "{text}");
        }
    }

    #[test]
    fn accounts_with_and_without_a_group() {
        let parts = |text| user_name(text).map(|name| (name.user, name.group));
        assert_eq!(parts("tftp"), Ok(("tftp".into(), None)));
        assert_eq!(parts("0:boot"), Ok(("0".into(), Some("boot".into()))));
        for text in ["", ":", "tftp:", ":boot", "a:b:c"] {
            assert!(user_name(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_plain_digits_within_their_range() {
        assert_eq!(number("32", 1..=100), Ok(32_usize));
        for text in [
            "",
            "0",
            "101",
            "+5",
            "-1",
            "5x",
            " 5",
            "99999999999999999999",
        ] {
            assert!(number::<usize>(text, 1..=100).is_err(), "{text}");
        }
    }
}
