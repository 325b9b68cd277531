//! The values of options: text → what is meant. An error says what is wrong with a value, for the operator.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{LISTEN_MAX, Listen, PORT, Ports, Settings, UserName};

/// A number in plain digits.
pub(super) fn number<T: TryFrom<u64>>(text: &str, range: RangeInclusive<u64>) -> Result<T, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok();
    let number = number.filter(|number| digits && range.contains(number));
    number
        .and_then(|number: u64| T::try_from(number).ok())
        .ok_or_else(|| {
            let (least, most) = range.into_inner();
            format!("'{text}' is not a number from {least} to {most}")
        })
}

/// A number of seconds.
pub(super) fn seconds(text: &str, range: RangeInclusive<u64>) -> Result<Duration, String> {
    number(text, range).map(Duration::from_secs)
}

/// After how long a waiting client is answered: a number of seconds, or `never`.
pub(super) fn hold(text: &str, range: RangeInclusive<u64>) -> Result<Option<Duration>, String> {
    match text {
        "never" => Ok(None),
        _ => seconds(text, range)
            .map(Some)
            .map_err(|wrong| format!("{wrong}, and not 'never'")),
    }
}

/// One of two words.
pub(super) fn either<T>(text: &str, one: (&str, T), other: (&str, T)) -> Result<T, String> {
    match text {
        _ if text == one.0 => Ok(one.1),
        _ if text == other.0 => Ok(other.1),
        _ => Err(format!("'{text}' is neither {} nor {}", one.0, other.0)),
    }
}

/// One more option of TFTP that is never granted.
pub(super) fn refuse(to: &mut Settings, name: &str) -> Result<(), String> {
    match to.limits.terms.refused.add(name.as_bytes()) {
        true => Ok(()),
        false => Err(format!(
            "'{name}' is none of blksize, timeout, tsize, windowsize"
        )),
    }
}

/// A umask: octal digits.
pub(super) fn umask(text: &str) -> Result<u32, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let mask = u32::from_str_radix(text, 8).ok();
    mask.filter(|&mask| digits && mask <= 0o777)
        .ok_or_else(|| format!("'{text}' is not an octal number from 0 to 777"))
}

/// A range of ports: `A:B`, `A-B` or `A,B`. Ports below 1024 need a privilege, which is given up.
pub(super) fn port_range(text: &str) -> Result<Ports, String> {
    let range = 1024..=u16::MAX.into();
    let (first, last) = text.split_once([':', '-', ',']).unwrap_or((text, ""));
    let (first, last) = (number(first, range.clone())?, number(last, range)?);
    match first <= last {
        true => Ok(Ports::Range(first..=last)),
        false => Err(format!("{first} is above {last}")),
    }
}

/// One more address to listen on.
pub(super) fn listen(addresses: &mut Vec<Listen>, text: &str) -> Result<(), String> {
    add(addresses, address(text)?, LISTEN_MAX, "addresses")
}

/// Where to listen: `ADDR`, `ADDR:PORT`, `[V6]:PORT`, `[V6]`, or `:PORT` for every address.
fn address(text: &str) -> Result<Listen, String> {
    let every = text
        .strip_prefix(':')
        .map(|port| number(port, 0..=u16::MAX.into()));
    if let Some(Ok(port)) = every {
        return Ok(Listen::Every(port));
    }
    let in_brackets = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let address = match (text.parse(), in_brackets.map(str::parse::<Ipv6Addr>)) {
        (Ok(ip), _) => Ok(SocketAddr::new(ip, PORT)),
        (_, Some(Ok(ip))) => Ok(SocketAddr::from((ip, PORT))),
        _ => text.parse(),
    };
    let canonical = |address: SocketAddr| match address.ip().to_canonical() {
        IpAddr::V4(v4) => SocketAddr::from((v4, address.port())),
        IpAddr::V6(_) => address,
    };
    address.map(|address| Listen::At(canonical(address))).map_err(|_| {
        format!("'{text}' is not an address like 192.0.2.1, 192.0.2.1:69, 2001:db8::1, [::]:69 or :69")
    })
}

/// Which server to ask: an address as of [`address`]; where that is every address, this machine.
pub(super) fn server(text: &str) -> Result<SocketAddr, String> {
    let mut server = match address(text)? {
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

/// An account: `USER` or `USER:GROUP`.
pub(super) fn user_name(text: &str) -> Result<UserName, String> {
    let words: Vec<&str> = text.split(':').collect();
    let (user, group) = match words[..] {
        [user] => (user, None),
        [user, group] if !group.is_empty() => (user, Some(group.to_owned())),
        _ => ("", None),
    };
    match user {
        "" => Err(format!("'{text}' is not USER or USER:GROUP")),
        _ => Ok(UserName {
            user: user.into(),
            group,
        }),
    }
}

/// A file of rules. Some who know atftpd mean something else.
pub(super) fn map_file(path: PathBuf) -> Result<PathBuf, String> {
    let is_number = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
    match path.to_str().filter(is_number) {
        Some(number) => Err(format!("'{number}' is no file; atftpd's -m is -n here")),
        None => Ok(path),
    }
}

/// One more directory to serve. Some who know tftpd-hpa mean an option of TFTP; such a directory is `./blksize`.
pub(super) fn root(roots: &mut Vec<PathBuf>, path: PathBuf) -> Result<(), String> {
    let names = "blksize blksize2 tsize timeout utimeout rollover windowsize";
    match names.split(' ').find(|name| path == Path::new(name)) {
        Some(name) => Err(format!(
            "'{name}' is no directory; tftpd-hpa's -r is --refuse here"
        )),
        None if path.as_os_str().is_empty() => Err("a directory without a name".into()),
        // Each is searched for every name that those before it have not.
        None => add(roots, path, 16, "directories"),
    }
}

/// One more directory for uploads.
pub(super) fn upload_directory(to: &mut Vec<PathBuf>, path: PathBuf) -> Result<(), String> {
    add(to, path, 64, "directories")
}

fn add<T>(to: &mut Vec<T>, value: T, most: usize, what: &str) -> Result<(), String> {
    if to.len() == most {
        return Err(format!("more than {most} {what}"));
    }
    to.push(value);
    Ok(())
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
            assert_eq!(address(text), Ok(expected));
        }
        assert_eq!(address(":69"), Ok(Listen::Every(69)));
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
            assert!(address(text).is_err(), "{text}");
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
