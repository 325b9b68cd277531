//! The command line: one table of options, and what was typed → the [`Order`].
//!
//! `--help` is made from the table, and the tests hold the man page to `--help`.

use std::ffi::OsString;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use getopts::{HasArg, Matches, Occur, Options};
use ripple_tftpd::firmware::{Kind, WriterKind};

use crate::chains::Wanted;
use crate::chance::Chance;
use crate::values::{Mix, Network, short_name, time};

struct Flag {
    short: &'static str,
    long: &'static str,
    /// What its value is called, if it takes one.
    value: &'static str,
    help: &'static str,
    default: Option<&'static str>,
}

const fn flag(
    long: &'static str,
    value: &'static str,
    help: &'static str,
    default: Option<&'static str>,
) -> Flag {
    Flag {
        short: "",
        long,
        value,
        help,
        default,
    }
}

const FLAGS: &[Flag] = &[
    flag("clients", "N", "how many machines boot", Some("500")),
    flag(
        "mix",
        "KIND=PARTS,...",
        "which kinds of machines, in which parts",
        Some("ipxe=40,edk2=40,pxelinux=20"),
    ),
    flag(
        "arrival",
        "TIME",
        "within which time they are switched on",
        Some("2s"),
    ),
    flag(
        "loss",
        "PERCENT",
        "datagrams dropped at random, each way",
        Some("0%"),
    ),
    flag(
        "chain",
        "NAME|FILE",
        "what they fetch, instead of FILE...: a known boot, or a TOML file",
        None,
    ),
    flag(
        "retry",
        "",
        "let a machine that failed start again, as its firmware does",
        None,
    ),
    flag(
        "limit",
        "TIME",
        "end the rehearsal after so long",
        Some("10m"),
    ),
    flag(
        "from",
        "NETWORK",
        "addresses of the machines, as ADDRESS/LENGTH",
        None,
    ),
    flag(
        "seed",
        "N",
        "equal seeds switch on equal machines at equal times",
        Some("1"),
    ),
    flag(
        "verify",
        "DIR",
        "compare every byte with the files in DIR",
        None,
    ),
    flag(
        "upload",
        "KIND,...",
        "machines write FILE-0, FILE-1 and so on instead: switch, phone, router, uboot, dump",
        None,
    ),
    flag(
        "size",
        "BYTES",
        "with --upload: bytes of each file",
        Some("20000"),
    ),
    flag("json", "FILE", "write all results as JSON", None),
    flag("plot", "FILE", "draw the storm as SVG", None),
    flag(
        "pid",
        "PID",
        "process of the server, to report its CPU time and memory",
        None,
    ),
    flag(
        "control",
        "FILE",
        "control socket of a tftpd, to show its own view as well",
        None,
    ),
    Flag {
        short: "h",
        ..flag("help", "", "print this help", None)
    },
    Flag {
        short: "V",
        ..flag("version", "", "print the version", None)
    },
];

/// What the operator wants.
pub(crate) enum Command {
    /// A rehearsal.
    Rehearse(Box<Order>),
    /// Machines that write.
    Upload(Box<UploadOrder>),
    /// Print [`help`].
    Help,
    /// Print [`version`].
    Version,
}

/// A rehearsal, as it was ordered.
pub(crate) struct Order {
    pub(crate) server: SocketAddr,
    pub(crate) clients: usize,
    pub(crate) mix: Mix,
    pub(crate) arrival: Duration,
    pub(crate) loss: Chance,
    pub(crate) wanted: Wanted,
    pub(crate) retry: bool,
    pub(crate) limit: Duration,
    pub(crate) from: Option<Network>,
    pub(crate) seed: u64,
    pub(crate) verify: Option<PathBuf>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) plot: Option<PathBuf>,
    pub(crate) pid: Option<u32>,
    pub(crate) control: Option<PathBuf>,
}

/// Machines that write, as they were ordered.
pub(crate) struct UploadOrder {
    pub(crate) server: SocketAddr,
    /// Each machine sends this name with its number behind it.
    pub(crate) name: String,
    /// The machines are of these kinds in turn.
    pub(crate) kinds: Vec<WriterKind>,
    pub(crate) size: u64,
    pub(crate) clients: usize,
    pub(crate) arrival: Duration,
    pub(crate) loss: Chance,
    pub(crate) limit: Duration,
    pub(crate) from: Option<Network>,
    pub(crate) seed: u64,
    /// Where the server writes.
    pub(crate) verify: Option<PathBuf>,
}

/// Parses the arguments that follow the program's name, or returns what is wrong with them.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let matches = parser().parse(arguments).map_err(|fail| fail.to_string())?;
    if matches.opt_present("help") {
        return Ok(Command::Help);
    }
    if matches.opt_present("version") {
        return Ok(Command::Version);
    }
    if matches.opt_present("upload") {
        return Ok(Command::Upload(Box::new(upload_order(&matches)?)));
    }
    Ok(Command::Rehearse(Box::new(order(&matches)?)))
}

fn upload_order(matches: &Matches) -> Result<UploadOrder, String> {
    for other in ["chain", "mix", "retry", "json", "plot", "pid"] {
        if matches.opt_present(other) {
            return Err(format!("--upload and --{other} exclude each other"));
        }
    }
    let [server, name] = matches.free.as_slice() else {
        return Err("--upload takes a server and one FILE".to_owned());
    };
    let value = |name| Value { matches, name };
    Ok(UploadOrder {
        server: server_address(server)?,
        name: name.clone(),
        kinds: value("upload").read(|text| text.split(',').map(writer_named).collect())?,
        size: value("size").read(|text| number(text, 0, u64::from(u32::MAX)))?,
        clients: value("clients").read(|text| number(text, 1, CLIENTS_MAX))?,
        arrival: value("arrival").read(time)?,
        loss: value("loss").read(Chance::parse)?,
        limit: value("limit").read(time)?,
        from: value("from").read_if_given(Network::parse)?,
        seed: value("seed").read(|text| number(text, 0, u64::MAX))?,
        verify: matches.opt_str("verify").map(PathBuf::from),
    })
}

fn writer_named(name: &str) -> Result<WriterKind, String> {
    let kinds = WriterKind::ALL.into_iter();
    let found = kinds
        .zip(["switch", "phone", "router", "uboot", "dump"])
        .find(|&(_, known)| known == name);
    found
        .map(|(kind, _)| kind)
        .ok_or_else(|| format!("nothing called '{name}' writes"))
}

fn order(matches: &Matches) -> Result<Order, String> {
    let mut free = matches.free.iter();
    let server = free.next().ok_or("the server is missing")?;
    let files: Vec<&str> = free.map(String::as_str).collect();
    let wanted = match (matches.opt_str("chain"), files.as_slice()) {
        (None, []) => return Err("nothing to fetch: name a FILE, or a --chain".to_owned()),
        (None, files) => Wanted::files(files)?,
        (Some(chain), []) => {
            Wanted::chain(&chain).map_err(|message| format!("--chain: {message}"))?
        }
        (Some(_), [file, ..]) => return Err(format!("'{file}' and --chain exclude each other")),
    };
    let value = |name| Value { matches, name };
    let path = |name| matches.opt_str(name).map(PathBuf::from);
    Ok(Order {
        server: server_address(server)?,
        clients: value("clients").read(|text| number(text, 1, CLIENTS_MAX))?,
        mix: value("mix").read(Mix::parse)?,
        arrival: value("arrival").read(time)?,
        loss: value("loss").read(Chance::parse)?,
        wanted,
        retry: matches.opt_present("retry"),
        limit: value("limit").read(time)?,
        from: value("from").read_if_given(Network::parse)?,
        seed: value("seed").read(|text| number(text, 0, u64::MAX))?,
        verify: path("verify"),
        json: path("json"),
        plot: path("plot"),
        pid: value("pid").read_if_given(|text| number(text, 1, u32::MAX))?,
        control: path("control"),
    })
}

/// The value of an option, which may not be given.
struct Value<'m> {
    matches: &'m Matches,
    name: &'static str,
}

impl Value<'_> {
    fn read_if_given<T>(
        &self,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        let given = self.matches.opt_str(self.name);
        given
            .map(|text| read(&text).map_err(|message| format!("--{}: {message}", self.name)))
            .transpose()
    }

    /// Or its default, which every option has that is read so.
    fn read<T>(&self, read: impl Fn(&str) -> Result<T, String>) -> Result<T, String> {
        if let Some(value) = self.read_if_given(&read)? {
            return Ok(value);
        }
        let flag = FLAGS.iter().find(|flag| flag.long == self.name);
        read(flag.and_then(|flag| flag.default).unwrap_or_default())
    }
}

/// `HOST`, `HOST:PORT`, `V6` or `[V6]:PORT`.
fn server_address(text: &str) -> Result<SocketAddr, String> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok((address, TFTP).into());
    }
    let found = if text.contains(':') {
        text.to_socket_addrs()
    } else {
        (text, TFTP).to_socket_addrs()
    };
    let mut found = found.map_err(|error| format!("server '{text}': {error}"))?;
    let first = found.next().filter(|address| address.port() != 0);
    first.ok_or_else(|| format!("server '{text}' has no address"))
}

/// A whole number within bounds.
fn number<T: FromStr + PartialOrd + Display>(text: &str, least: T, most: T) -> Result<T, String> {
    let number = text.parse::<T>().ok();
    let number = number.filter(|number| least <= *number && *number <= most);
    number.ok_or_else(|| format!("'{text}' is not a number from {least} to {most}"))
}

fn parser() -> Options {
    let mut parser = Options::new();
    for flag in FLAGS {
        let has_value = if flag.value.is_empty() {
            HasArg::No
        } else {
            HasArg::Yes
        };
        parser.opt(
            flag.short,
            flag.long,
            flag.help,
            flag.value,
            has_value,
            Occur::Optional,
        );
    }
    parser
}

/// The text of `--help`.
pub(crate) fn help() -> String {
    let mut text = String::from(
        "Usage: tftp-storm SERVER[:PORT] FILE... [options]\n       \
         tftp-storm SERVER[:PORT] --chain NAME|FILE [options]\n       \
         tftp-storm SERVER[:PORT] FILE --upload KIND,... [options]\n\n\
         Rehearses a power-on against a TFTP server: many machines, simulated down to the timers of\n\
         their firmware, fetch files over real sockets. Ends with status 0 if all of them booted.\n\n\
         Options:\n",
    );
    let names = |flag: &Flag| {
        let short = match flag.short {
            "" => String::new(),
            short => format!("-{short}, "),
        };
        format!("{short}--{} {}", flag.long, flag.value)
            .trim_end()
            .to_owned()
    };
    let width = FLAGS.iter().map(|flag| names(flag).len()).max();
    let width = width.unwrap_or(0);
    for flag in FLAGS {
        let default = flag.default.map(|default| format!(" (default: {default})"));
        let default = default.unwrap_or_default();
        text += &format!("  {:width$}  {}{default}\n", names(flag), flag.help);
    }
    let kinds: Vec<String> = Kind::ALL.into_iter().map(short_name).collect();
    text += &wrapped("Kinds", &kinds);
    text += &wrapped("Chains", &crate::chains::names());
    text + "\nThe manual is tftp-storm(1).\n"
}

/// A list in lines of a terminal's width.
fn wrapped(title: &str, words: &[String]) -> String {
    let mut text = format!("\n{title}:\n ");
    let mut column = 1;
    for (place, word) in words.iter().enumerate() {
        if column + word.len() + 2 > COLUMNS {
            text += "\n ";
            column = 1;
        }
        let comma = if place + 1 < words.len() { "," } else { "\n" };
        text += &format!(" {word}{comma}");
        column += word.len() + 2;
    }
    text
}

/// The text of `--version`.
pub(crate) fn version() -> String {
    format!(
        "tftp-storm {} ({})\n",
        env!("CARGO_PKG_VERSION"),
        env!("CARGO_PKG_NAME")
    )
}

const TFTP: u16 = 69;
/// Each has an address and up to a handful of sockets.
const CLIENTS_MAX: usize = 100_000;
const COLUMNS: usize = 90;

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Order, String> {
        match parse(line.split_whitespace().map(OsString::from))? {
            Command::Rehearse(order) => Ok(*order),
            Command::Upload(_) | Command::Help | Command::Version => Err("no rehearsal".to_owned()),
        }
    }

    #[test]
    fn a_server_and_a_file_are_all_that_is_needed() {
        let order = parsed("127.0.0.1 kernel").expect("an order");
        assert_eq!(order.server, "127.0.0.1:69".parse().expect("an address"));
        assert_eq!(order.clients, 500);
        assert_eq!(order.arrival, Duration::from_secs(2));
        assert!(parsed("127.0.0.1").is_err());
        assert!(parsed("").is_err());
    }

    #[test]
    fn machines_write_one_file_each() {
        let parsed = |line: &str| parse(line.split_whitespace().map(OsString::from));
        let Ok(Command::Upload(order)) = parsed("::1 sw --upload switch,uboot --size 7") else {
            panic!("no uploads");
        };
        assert_eq!(order.kinds, [WriterKind::Switch, WriterKind::Uboot]);
        assert_eq!((order.size, order.name.as_str()), (7, "sw"));
        for (line, part) in [
            ("::1 --upload switch", "one FILE"),
            ("::1 a b --upload switch", "one FILE"),
            ("::1 a --upload toaster", "toaster"),
            ("::1 a --upload switch --chain uefi", "exclude"),
            ("::1 a --upload switch --size x", "--size"),
        ] {
            let message = parsed(line).err().expect(line);
            assert!(message.contains(part), "{line}: {message}");
        }
    }

    #[test]
    fn servers_are_named_in_many_ways() {
        for (text, address) in [
            ("127.0.0.1:7", "127.0.0.1:7"),
            ("::1", "[::1]:69"),
            ("[::1]", "[::1]:69"),
            ("[::1]:7", "[::1]:7"),
        ] {
            assert_eq!(
                server_address(text),
                Ok(address.parse().expect("an address"))
            );
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (line, part) in [
            ("127.0.0.1:0 f", "server"),
            ("127.0.0.1 f --clients 0", "--clients"),
            ("127.0.0.1 f --mix ipxe=x", "--mix"),
            ("127.0.0.1 f --mix toaster", "toaster"),
            ("127.0.0.1 f --arrival soon", "--arrival"),
            ("127.0.0.1 f --loss 101%", "--loss"),
            ("127.0.0.1 f --chain uefi", "exclude"),
            ("127.0.0.1 --chain nowhere", "--chain"),
            ("127.0.0.1 f --from 10.0.0.0/33", "--from"),
            ("127.0.0.1 f --pid 0", "--pid"),
            ("127.0.0.1 f --seed x", "--seed"),
            ("127.0.0.1 f --frobnicate", "frobnicate"),
        ] {
            let message = parsed(line).err().expect(line);
            assert!(message.contains(part), "{line}: {message}");
        }
    }
}
