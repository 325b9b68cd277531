//! Which addresses may ask at all (`--allow`, `--deny`).
//!
//! The most specific network that holds an address decides. It is asked for every datagram of the
//! listening sockets before anything is read of it, so the list is short and nothing is allocated. It
//! knows addresses only, and no packets.

use std::net::IpAddr;

use ipnet::IpNet;

/// What the operator wants for the addresses of a network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// They are served.
    Allow,
    /// They get no answer of any kind.
    Deny,
}

/// The networks that were named. Without any, everybody is allowed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Access {
    /// The most specific first.
    networks: Vec<(IpNet, Verdict)>,
}

impl Access {
    /// Adds a network: `192.0.2.0/24`, `2001:db8::/32`, or a single address. An IPv4-mapped one is the
    /// IPv4 network in it; what stands behind the prefix is no matter.
    ///
    /// # Errors
    /// What is wrong with it, for the operator: it is no network, it was named with the other verdict,
    /// or there are [`NETWORKS_MAX`] already.
    pub fn add(&mut self, text: &str, verdict: Verdict) -> Result<(), String> {
        let network = network(text).ok_or_else(|| {
            format!("'{text}' is not a network like 192.0.2.0/24, 2001:db8::/32 or 192.0.2.1")
        })?;
        if let Some(&(_, other)) = self.networks.iter().find(|(known, _)| *known == network) {
            return match other == verdict {
                true => Ok(()),
                false => Err(format!("{network} is both allowed and denied")),
            };
        }
        if self.networks.len() >= NETWORKS_MAX {
            return Err(format!("more than {NETWORKS_MAX} networks"));
        }
        let is_before = |(known, _): &(IpNet, Verdict)| network.prefix_len() <= known.prefix_len();
        let place = self.networks.partition_point(is_before);
        self.networks.insert(place, (network, verdict));
        Ok(())
    }

    /// Adds the networks of a file: `allow CIDR` or `deny CIDR`, one a line; `#` begins a comment.
    ///
    /// # Errors
    /// What is wrong with it, for the operator, and in which line.
    pub fn read(&mut self, file: &[u8]) -> Result<(), String> {
        for (number, line) in file.split(|&byte| byte == b'\n').enumerate() {
            let wrong = |why: String| format!("line {}: {why}", number + 1);
            let line = std::str::from_utf8(line).map_err(|_| wrong("not UTF-8".into()))?;
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            let (verdict, text) = match words[..] {
                [] => continue,
                ["allow", text] => (Verdict::Allow, text),
                ["deny", text] => (Verdict::Deny, text),
                _ => {
                    return Err(wrong(format!(
                        "'{}' is not 'allow CIDR' or 'deny CIDR'",
                        line.trim()
                    )));
                }
            };
            self.add(text, verdict).map_err(wrong)?;
        }
        Ok(())
    }

    /// How many networks were named.
    pub fn networks(&self) -> usize {
        self.networks.len()
    }

    /// Whether a packet from `address`, which must not be IPv4-mapped, is looked at. Where no network
    /// holds it, it is unless some network was allowed.
    pub fn allows(&self, address: IpAddr) -> bool {
        let holds = |(network, _): &&(IpNet, Verdict)| network.contains(&address);
        let is_allowed = |(_, verdict): &(IpNet, Verdict)| *verdict == Verdict::Allow;
        match self.networks.iter().find(holds) {
            Some(network) => is_allowed(network),
            None => !self.networks.iter().any(is_allowed),
        }
    }
}

/// The network of a text, with zeroes behind its prefix.
fn network(text: &str) -> Option<IpNet> {
    let mut parts = text.splitn(2, '/');
    // The standard library reads addresses already; a second reader of them would only make the program
    // larger. It takes a plus before a number, which a prefix has not.
    let address: IpAddr = parts.next()?.parse().ok()?;
    let bits = match parts.next() {
        Some(digits) if digits.starts_with('+') => return None,
        Some(digits) => digits.parse().ok()?,
        None if address.is_ipv4() => 32,
        None => 128,
    };
    let network = match address.to_canonical() {
        v4 if v4 != address && bits >= MAPPED_BITS => IpNet::new(v4, bits - MAPPED_BITS),
        _ => IpNet::new(address, bits),
    };
    Some(network.ok()?.trunc())
}

/// Most networks that are named: each costs every datagram a comparison.
pub const NETWORKS_MAX: usize = 256;

/// Bits in front of an IPv4 address in an IPv4-mapped one.
const MAPPED_BITS: u8 = 96;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::Verdict::{Allow, Deny};
    use super::*;

    fn access(networks: &[(&str, Verdict)]) -> Access {
        let mut access = Access::default();
        for &(network, verdict) in networks {
            access.add(network, verdict).expect(network);
        }
        access
    }

    fn allows(access: &Access, address: &str) -> bool {
        access.allows(address.parse().expect(address))
    }

    #[test]
    fn without_a_word_everybody_is_allowed() {
        let access = Access::default();
        assert!(allows(&access, "192.0.2.1") && allows(&access, "2001:db8::1"));
    }

    #[test]
    fn one_word_settles_what_happens_to_all_others() {
        let only = access(&[("192.0.2.0/24", Allow)]);
        assert!(allows(&only, "192.0.2.255"));
        assert!(!allows(&only, "192.0.3.0") && !allows(&only, "2001:db8::1"));
        let but = access(&[("192.0.2.0/24", Deny)]);
        assert!(!allows(&but, "192.0.2.0"));
        assert!(allows(&but, "192.0.1.255") && allows(&but, "2001:db8::1"));
        let both = access(&[("192.0.2.0/24", Deny), ("10.0.0.0/8", Allow)]);
        assert!(!allows(&both, "203.0.113.1"), "some network was allowed");
    }

    #[test]
    fn the_most_specific_decides_in_whatever_order_they_come() {
        let mut rules = [
            ("10.0.0.0/8", Allow),
            ("10.1.0.0/16", Deny),
            ("10.1.2.0/24", Allow),
            ("10.1.2.3", Deny),
            ("2001:db8::/32", Allow),
            ("2001:db8:1::/48", Deny),
        ];
        for _ in 0..rules.len() {
            rules.rotate_left(1);
            let access = access(&rules);
            let cases = [
                ("10.9.9.9", true),
                ("10.1.9.9", false),
                ("10.1.2.9", true),
                ("10.1.2.3", false),
                ("2001:db8::1", true),
                ("2001:db8:1::1", false),
                ("11.0.0.0", false),
            ];
            for (address, expected) in cases {
                assert_eq!(allows(&access, address), expected, "{address}");
            }
        }
    }

    #[test]
    fn a_mapped_network_is_the_ipv4_network_in_it() {
        for text in [
            "::ffff:192.0.2.0/120",
            "::ffff:192.0.2.77/120",
            "192.0.2.9/24",
        ] {
            let access = access(&[(text, Deny)]);
            assert!(!allows(&access, "192.0.2.1"), "{text}");
            assert!(allows(&access, "192.0.3.1"), "{text}");
        }
        let access = access(&[("::ffff:0:0/96", Deny)]);
        assert!(!allows(&access, "203.0.113.1") && allows(&access, "2001:db8::1"));
    }

    #[test]
    fn a_file_has_a_network_a_line() {
        let mut read = access(&[("192.0.2.7", Deny)]);
        let file = b"# lab\n\n allow 192.0.2.0/24 # all of it\r\ndeny\t2001:db8::/32";
        assert_eq!((read.read(file), read.networks()), (Ok(()), 3));
        assert!(allows(&read, "192.0.2.8") && !allows(&read, "192.0.2.7"));
        for (file, wrong) in [
            (&b"allow"[..], "line 1: 'allow' is not"),
            (b"allow ::1\npermit ::1", "line 2: 'permit ::1' is not"),
            (b"allow ::1 ::2", "line 1: "),
            (b"\n\ndeny lan", "line 3: 'lan' is not a network"),
            (
                b"allow ::1\ndeny ::1",
                "line 2: ::1/128 is both allowed and denied",
            ),
            (b"\xFF", "line 1: not UTF-8"),
        ] {
            let message = Access::default().read(file).expect_err(wrong);
            assert!(message.starts_with(wrong), "{message}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for text in [
            "",
            "192.0.2.0/33",
            "192.0.2/24",
            "::/129",
            "lan",
            "/24",
            "192.0.2.0/-1",
            "192.0.2.0/+1",
            "192.0.2.0/24/24",
            "192.0.2.0/",
            "::ffff:192.0.2.0/129",
        ] {
            let message = Access::default().add(text, Allow).expect_err(text);
            assert!(message.contains(text), "{message}");
        }
        let mut both = access(&[("192.0.2.0/24", Allow), ("192.0.2.1/24", Allow)]);
        assert_eq!(both.networks.len(), 1, "the same again");
        let message = both.add("::ffff:192.0.2.9/120", Deny).expect_err("both");
        assert_eq!(message, "192.0.2.0/24 is both allowed and denied");
    }

    #[test]
    fn their_number_is_bounded() {
        let mut access = Access::default();
        let results: Vec<_> = (0..)
            .take(NETWORKS_MAX + 1)
            .map(|number| access.add(&Ipv4Addr::from_bits(number).to_string(), Deny))
            .collect();
        let failed = results.iter().position(Result::is_err);
        assert_eq!(failed, Some(NETWORKS_MAX));
    }
}
