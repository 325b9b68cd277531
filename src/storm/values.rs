//! What options and chains name, as it is typed: mixes of kinds, networks, times.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ripple_tftpd::firmware::Kind;

/// Kinds of machines and their parts of the whole.
#[derive(Clone, Debug)]
pub(crate) struct Mix {
    parts: Vec<(Kind, u64)>,
}

impl Mix {
    /// `ipxe=40,edk2=40,pxelinux=20`; without a number it is one part.
    pub(crate) fn parse(text: &str) -> Result<Mix, String> {
        let mut parts = Vec::new();
        for entry in text.split(',') {
            let (name, count) = entry.split_once('=').unwrap_or((entry, "1"));
            let kind = kind_named(name).ok_or_else(|| format!("there is no kind '{name}'"))?;
            let count = count.parse::<u32>();
            let count = count.map_err(|_| format!("'{entry}' has no whole number of parts"))?;
            parts.push((kind, u64::from(count)));
        }
        if parts.iter().all(|&(_, count)| count == 0) {
            return Err(format!("'{text}' has no parts"));
        }
        Ok(Mix { parts })
    }

    /// So many machines, split by largest remainders of the running sum: no kind is off by one or more.
    pub(crate) fn kinds(&self, count: usize) -> Vec<Kind> {
        let total: u64 = self.parts.iter().map(|&(_, parts)| parts).sum();
        let mut kinds = Vec::with_capacity(count);
        let mut sum = 0;
        for &(kind, parts) in &self.parts {
            sum += parts;
            let until = u128::from(sum) * count as u128 / u128::from(total);
            kinds.resize(usize::try_from(until).unwrap_or(count), kind);
        }
        kinds
    }
}

/// The kind of a name; case and marks do not matter.
pub(crate) fn kind_named(name: &str) -> Option<Kind> {
    let plain = |text: &str| -> String {
        let letters = text.chars().filter(|mark| mark.is_ascii_alphanumeric());
        letters.map(|letter| letter.to_ascii_lowercase()).collect()
    };
    let wanted = plain(name);
    Kind::ALL
        .into_iter()
        .find(|kind| plain(kind.name()) == wanted)
}

/// A kind's name as it is typed.
pub(crate) fn short_name(kind: Kind) -> String {
    let name = kind.name().to_ascii_lowercase();
    name.replace(", ", "-").replace([' ', '/'], "-")
}

/// Addresses that begin alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Network {
    first: IpAddr,
    /// Bits that differ.
    width: u32,
}

impl Network {
    /// `10.9.0.0/16`, `2001:db8::/112`; a bare address is one machine's.
    pub(crate) fn parse(text: &str) -> Result<Network, String> {
        let wrong = || format!("'{text}' is not a network such as 10.9.0.0/16");
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().map_err(|_| wrong())?;
        let all = if first.is_ipv4() { 32 } else { 128 };
        let length = length.map_or(Ok(all), |length| length.parse().map_err(|_| wrong()))?;
        if all < length {
            return Err(wrong());
        }
        Ok(Network {
            first: add(first, 0, all - length),
            width: all - length,
        })
    }

    /// On the loopback network every address is ours; elsewhere there is only the one of the route.
    pub(crate) fn usual_for(server: SocketAddr) -> Option<Network> {
        let is_v4_loopback = server.is_ipv4() && server.ip().is_loopback();
        is_v4_loopback.then_some(Network {
            first: LOOPBACK_MACHINES.into(),
            width: LOOPBACK_WIDTH,
        })
    }

    /// The address of a machine; where there are too few, machines share them. The first and the last
    /// address of a network, and the server's own, belong to no machine.
    pub(crate) fn host(&self, number: u128, server: IpAddr) -> IpAddr {
        if self.width < 2 {
            return add(self.first, number & ((1 << self.width) - 1), 0);
        }
        let count = 1_u128.checked_shl(self.width).unwrap_or(u128::MAX) - 2;
        let address = add(self.first, number % count + 1, 0);
        if address == server {
            add(self.first, (number + 1) % count + 1, 0)
        } else {
            address
        }
    }
}

/// The address `number` places behind the first one, whose lowest `cleared` bits are taken for zeroes.
fn add(first: IpAddr, number: u128, cleared: u32) -> IpAddr {
    match first {
        IpAddr::V4(v4) => {
            let base = v4.to_bits() & u32::MAX.checked_shl(cleared).unwrap_or(0);
            Ipv4Addr::from_bits(base.wrapping_add(u32::try_from(number).unwrap_or(0))).into()
        }
        IpAddr::V6(v6) => {
            let base = v6.to_bits() & u128::MAX.checked_shl(cleared).unwrap_or(0);
            Ipv6Addr::from_bits(base.wrapping_add(number)).into()
        }
    }
}

/// 127.64.0.0/10, far from where servers listen.
const LOOPBACK_MACHINES: Ipv4Addr = Ipv4Addr::new(127, 64, 0, 0);
const LOOPBACK_WIDTH: u32 = 22;

/// `2s`, `500ms`, `1.5m`; a bare number counts seconds.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let (digits, unit) = units
        .iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))
        .unwrap_or((text, 1.0));
    let seconds = digits.parse::<f64>().ok().map(|number| number * unit);
    let seconds = seconds.filter(|&seconds| 0.0 <= seconds && seconds <= TIME_MAX);
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("'{text}' is not a time such as 2s, 500ms or 10m, up to a day"))
}

/// In seconds.
const TIME_MAX: f64 = 86_400.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_to_type() {
        for kind in Kind::ALL {
            assert_eq!(kind_named(&short_name(kind)), Some(kind));
        }
        assert_eq!(kind_named("uboot"), Some(Kind::UBoot));
        assert_eq!(kind_named(""), None);
    }

    #[test]
    fn parts_become_machines() {
        let mix = Mix::parse("ipxe=40,edk2=40,pxelinux=20").expect("a mix");
        let count = |all: usize, kind| mix.kinds(all).iter().filter(|&&it| it == kind).count();
        assert_eq!(count(500, Kind::Ipxe), 200);
        assert_eq!(count(500, Kind::Pxelinux), 100);
        for all in 0..50 {
            assert_eq!(mix.kinds(all).len(), all);
        }
        assert!(Mix::parse("ipxe=0").is_err());
        assert!(Mix::parse("").is_err());
    }

    #[test]
    fn networks_give_addresses() {
        let server: IpAddr = "10.9.0.2".parse().expect("an address");
        let hosts = |text: &str| -> Vec<String> {
            let network = Network::parse(text).expect("a network");
            let host = |number| network.host(number, server).to_string();
            (0..3).map(host).collect()
        };
        assert_eq!(hosts("10.9.0.77/24"), ["10.9.0.1", "10.9.0.3", "10.9.0.3"]);
        assert_eq!(hosts("10.8.0.7"), ["10.8.0.7"; 3]);
        assert_eq!(hosts("fd00::/64"), ["fd00::1", "fd00::2", "fd00::3"]);
        assert_eq!(hosts("::/0"), ["::1", "::2", "::3"]);
        assert!(Network::parse("10.0.0.0/33").is_err());
        assert!(Network::parse("here/8").is_err());
    }

    #[test]
    fn times_have_units() {
        for (text, millis) in [
            ("2", 2000),
            ("2s", 2000),
            ("1.5s", 1500),
            ("7ms", 7),
            ("1m", 60_000),
        ] {
            assert_eq!(time(text), Ok(Duration::from_millis(millis)));
        }
        for text in ["", "s", "-1s", "inf", "nan", "2 days", "25h"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
