//! Control messages of UDP sockets: which address a datagram was sent to, which one to send from, and where
//! one buffer is cut into datagrams (ip(7), ipv6(7), udp(7), cmsg(3)).
//!
//! A plain walk over bytes: headers are as wide as the kernel writes them, and a message that does not
//! fit ends the walk.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Room for the control messages that the kernel adds to a datagram: both packet infos, since a socket
/// for both families gets both for IPv4.
pub(super) const ROOM: usize = 2 * (HEADER + 24);

/// Where a datagram was sent to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Destination {
    /// The address to answer from: for a broadcast or an IPv4 multicast the one of ours that the kernel would
    /// choose.
    pub address: IpAddr,
    /// The interface it came in by.
    pub interface: u32,
    /// It was sent to a broadcast or multicast address: not to us alone.
    pub is_broadcast: bool,
}

/// Returns where a datagram was sent to, if the messages say so.
pub(super) fn destination(mut messages: &[u8]) -> Option<Destination> {
    let mut found = None;
    while let Some((level, kind, data, rest)) = first(messages) {
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => return in_pktinfo(data),
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => found = in6_pktinfo(data),
            _ => {}
        }
        messages = rest;
    }
    found
}

/// struct in_pktinfo: interface, address to answer from, address in the header. Of a datagram that came before anybody
/// asked for this, the kernel knows only the last.
fn in_pktinfo(data: &[u8]) -> Option<Destination> {
    let interface = u32::from_ne_bytes(data.get(..4)?.try_into().ok()?);
    let header: [u8; 4] = data.get(8..12)?.try_into().ok()?;
    let source: [u8; 4] = data.get(4..8)?.try_into().ok()?;
    let octets = if source == [0; 4] { header } else { source };
    Some(Destination {
        address: Ipv4Addr::from(octets).into(),
        interface,
        is_broadcast: header != octets,
    })
}

/// struct in6_pktinfo: address, interface.
fn in6_pktinfo(data: &[u8]) -> Option<Destination> {
    let octets: [u8; 16] = data.get(..16)?.try_into().ok()?;
    let interface = u32::from_ne_bytes(data.get(16..20)?.try_into().ok()?);
    let address = Ipv6Addr::from(octets).to_canonical();
    Some(Destination {
        address,
        interface,
        is_broadcast: address.is_multicast(),
    })
}

/// A message to go with what is sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    bytes: [u8; 2 * HEADER + 32],
    length: usize,
}

impl Outgoing {
    pub(super) const EMPTY: Outgoing = Outgoing {
        bytes: [0; 2 * HEADER + 32],
        length: 0,
    };

    /// The kernel cuts what is sent into datagrams of `size` bytes; the last may be shorter.
    pub(super) fn add_segments(&mut self, size: u16) {
        self.put(libc::SOL_UDP, libc::UDP_SEGMENT, &size.to_ne_bytes());
    }

    /// The datagram leaves from `address`.
    pub(super) fn from(address: IpAddr, interface: u32) -> Outgoing {
        let mut message = Outgoing::EMPTY;
        match address {
            IpAddr::V4(v4) => {
                // The interface stays 0: the route decides, as for any other answer.
                let mut data = [0; 12];
                data[4..8].copy_from_slice(&v4.octets());
                message.put(libc::IPPROTO_IP, libc::IP_PKTINFO, &data);
            }
            IpAddr::V6(v6) => {
                let mut data = [0; 20];
                data[..16].copy_from_slice(&v6.octets());
                data[16..].copy_from_slice(&interface.to_ne_bytes());
                message.put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &data);
            }
        }
        message
    }

    fn put(&mut self, level: i32, kind: i32, data: &[u8]) {
        let length = HEADER + data.len();
        let bytes = &mut self.bytes[self.length..];
        bytes[..WORD].copy_from_slice(&length.to_ne_bytes());
        bytes[WORD..WORD + 4].copy_from_slice(&level.to_ne_bytes());
        bytes[WORD + 4..HEADER].copy_from_slice(&kind.to_ne_bytes());
        bytes[HEADER..length].copy_from_slice(data);
        self.length += aligned(length);
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The level, the type and the data of the first message, and what stands behind it.
fn first(messages: &[u8]) -> Option<(i32, i32, &[u8], &[u8])> {
    let length = usize::from_ne_bytes(messages.get(..WORD)?.try_into().ok()?);
    let level = i32::from_ne_bytes(messages.get(WORD..WORD + 4)?.try_into().ok()?);
    let kind = i32::from_ne_bytes(messages.get(WORD + 4..HEADER)?.try_into().ok()?);
    let data = messages.get(HEADER..length)?;
    let rest = messages.get(aligned(length)..).unwrap_or_default();
    Some((level, kind, data, rest))
}

/// The kernel's `size_t`.
const WORD: usize = size_of::<usize>();
/// struct cmsghdr: length, level, type.
const HEADER: usize = WORD + 8;

fn aligned(length: usize) -> usize {
    length.next_multiple_of(WORD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        for (text, interface) in [("192.0.2.7", 0), ("2001:db8::7", 3)] {
            let address: IpAddr = text.parse().expect("an address");
            let message = Outgoing::from(address, interface);
            let read = destination(message.as_bytes()).expect("the destination is there");
            assert_eq!((read.address, read.interface), (address, interface));
        }
    }

    #[test]
    fn a_broadcast_is_known_by_the_address_in_the_header() {
        let ours = [192, 0, 2, 10];
        for (header, is_broadcast) in [
            (ours, false),
            ([192, 0, 2, 255], true),
            ([255; 4], true),
            ([224, 0, 0, 1], true),
        ] {
            let mut message = Outgoing::from(IpAddr::from(ours), 0);
            message.bytes[HEADER + 8..HEADER + 12].copy_from_slice(&header);
            let read = destination(message.as_bytes()).expect("the destination is there");
            assert_eq!(
                (read.address, read.is_broadcast),
                (ours.into(), is_broadcast)
            );
        }
        for (text, is_broadcast) in [("2001:db8::7", false), ("ff02::1", true)] {
            let message = Outgoing::from(text.parse().expect("an address"), 2);
            let read = destination(message.as_bytes()).expect("the destination is there");
            assert_eq!(read.is_broadcast, is_broadcast);
        }
    }

    #[test]
    fn two_messages_stand_behind_each_other() {
        for text in ["192.0.2.7", "2001:db8::7"] {
            let address: IpAddr = text.parse().expect("an address");
            let mut message = Outgoing::from(address, 0);
            message.add_segments(516);
            let read = destination(message.as_bytes()).expect("the destination is there");
            assert_eq!(read.address, address);
            let (.., rest) = first(message.as_bytes()).expect("there is one");
            let (level, kind, data, _) = first(rest).expect("there is another");
            assert_eq!((level, kind), (libc::SOL_UDP, libc::UDP_SEGMENT));
            assert_eq!(data, 516u16.to_ne_bytes());
        }
    }

    #[test]
    fn broken_messages_end_the_walk() {
        let message = Outgoing::from(Ipv4Addr::LOCALHOST.into(), 0);
        for length in 0..message.as_bytes().len() - 4 {
            assert_eq!(destination(&message.as_bytes()[..length]), None);
        }
        assert_eq!(destination(&[0; 64]), None);
        assert_eq!(destination(&[0xFF; 64]), None);
    }
}
