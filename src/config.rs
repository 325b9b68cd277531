//! Checked settings: a [`Settings`] makes sense. What an option may be is in `cli/tftpd`, what the server bounds in
//! [`Limits`].

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::access::Access;
use crate::names::Unique;
use crate::names::map::STEPS_MAX;
use crate::server::Limits;
use crate::transfer::options::{BLKSIZE_MAX, BLKSIZE_MIN};

/// Everything that the operator may set: what is needed to start, and the [`Rules`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
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
#[derive(Clone, PartialEq, Eq, Debug, Default)]
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
#[derive(Clone, PartialEq, Eq, Debug, Default)]
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
#[derive(Clone, PartialEq, Eq, Debug, Default)]
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
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Door {
    /// `tftpd`
    #[default]
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
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Families {
    /// Those that the machine has.
    #[default]
    Both,
    /// IPv4
    V4,
    /// IPv6
    V6,
}

/// Where transfers take place.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Ports {
    /// Each at a port of its own that the system picks.
    #[default]
    Any,
    /// Each at a port of this range, or several at one.
    Range(RangeInclusive<u16>),
    /// All at the port that is listened on.
    Single,
}

/// The settings of a command line that names only a directory.
impl From<PathBuf> for Settings {
    fn from(root: PathBuf) -> Settings {
        let mut settings = Settings {
            roots: vec![root],
            mtu_clamp: true,
            sandbox: true,
            ..Settings::default()
        };
        settings.names.map_steps = STEPS_MAX;
        settings.rules.drain = DRAIN_USUAL;
        settings.uploads.umask = UMASK_USUAL;
        settings.uploads.max = u64::MAX;
        settings
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
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// In words.
    #[default]
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

/// Bytes in a block (RFC 2348).
pub const BLKSIZE: RangeInclusive<u64> = BLKSIZE_MIN as u64..=BLKSIZE_MAX as u64;
/// The port of TFTP (RFC 1350 section 4).
pub const PORT: u16 = 69;
/// Most addresses that are listened on.
pub const LISTEN_MAX: usize = 64;
/// Most firmware waits for a first answer at least 5 seconds.
pub const DRAIN_USUAL: Duration = Duration::from_secs(3);
/// New files can be read by everybody, as those of most programs.
pub const UMASK_USUAL: u32 = 0o022;
