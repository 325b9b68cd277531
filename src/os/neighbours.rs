//! Hardware addresses of the machines on the same link, as the kernel knows them (rtnetlink(7)).
//!
//! The socket is opened before the process is confined: Landlock bars /proc/net/arp, which knows nothing of IPv6 anyway.
//! All that is sent is one question, for the whole table; the kernel answers at once.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use nix::unistd::{read, write};

use crate::moment::Moment;
use crate::names::hardware::HardwareAddress;

/// Who is on the same link.
#[derive(Debug)]
pub struct Neighbours {
    socket: OwnedFd,
    /// By address and, of a link-local one, interface.
    table: HashMap<(IpAddr, u32), HardwareAddress>,
    /// When the table was read.
    read_at: Option<Moment>,
    /// Of the last question.
    sequence: u32,
}

/// What is known of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Neighbour {
    /// Its hardware address.
    Known(HardwareAddress),
    /// It is not on the same link: a relay or router is between.
    OffLink,
    /// The kernel did not say.
    Unknown,
}

impl Neighbours {
    /// # Errors
    /// Where there are no such sockets.
    pub fn open() -> io::Result<Neighbours> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkRoute;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        Ok(Neighbours {
            socket,
            table: HashMap::new(),
            read_at: None,
            sequence: 0,
        })
    }

    /// The hardware address of a client; `scope` is the interface of a link-local address, else 0.
    pub fn find(&mut self, now: Moment, address: IpAddr, scope: u32) -> Neighbour {
        let known = self.table.get(&(address, scope)).copied();
        let kept = if known.is_some() { KEPT } else { KEPT_WITHOUT };
        if self.read_at.is_none_or(|at| at + kept <= now) {
            self.read_at = Some(now);
            if self.read_table().is_err() {
                return known.map_or(Neighbour::Unknown, Neighbour::Known);
            }
        }
        match self.table.get(&(address, scope)) {
            Some(&hardware) => Neighbour::Known(hardware),
            // This machine itself has no neighbour's address.
            None if address.is_loopback() => Neighbour::Unknown,
            None => Neighbour::OffLink,
        }
    }

    fn read_table(&mut self) -> nix::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        // What is left of an earlier answer has another number.
        write(&self.socket, &question(self.sequence))?;
        self.table.clear();
        let mut buffer = vec![0; BUFFER];
        for _ in 0..READS_MAX {
            let length = read(&self.socket, &mut buffer)?;
            if self.take(&buffer[..length]) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes the messages of a buffer. Returns whether the last of the table was among them.
    fn take(&mut self, mut messages: &[u8]) -> bool {
        while let Some(header) = messages.first_chunk::<HEADER>() {
            let length = number(&header[..4]) as usize;
            let kind = u16::from_ne_bytes([header[4], header[5]]);
            let Some(message) = messages.get(HEADER..length) else {
                return true;
            };
            if number(&header[8..12]) == self.sequence {
                match kind {
                    DONE | ERROR => return true,
                    NEIGHBOUR => {
                        if let Some((key, hardware)) = neighbour(message)
                            && self.table.len() < NEIGHBOURS_MAX
                        {
                            self.table.insert(key, hardware);
                        }
                    }
                    _ => {}
                }
            }
            messages = messages.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        }
        false
    }
}

/// For all neighbours: struct nlmsghdr, struct ndmsg.
fn question(sequence: u32) -> [u8; HEADER + NDMSG] {
    let mut question = [0; HEADER + NDMSG];
    question[..4].copy_from_slice(&QUESTION.to_ne_bytes());
    question[4..6].copy_from_slice(&libc::RTM_GETNEIGH.to_ne_bytes());
    question[6..8].copy_from_slice(&REQUEST_ALL.to_ne_bytes());
    question[8..12].copy_from_slice(&sequence.to_ne_bytes());
    question
}

/// Of struct ndmsg and its attributes, if it is an address that the kernel knows.
fn neighbour(message: &[u8]) -> Option<((IpAddr, u32), HardwareAddress)> {
    let interface = number(message.get(4..8)?);
    let state = u16::from_ne_bytes([*message.get(8)?, *message.get(9)?]);
    if state & KNOWN == 0 {
        return None;
    }
    let mut attributes = message.get(NDMSG..)?;
    let (mut address, mut hardware) = (None, None);
    while let Some(&[low, high, kind, kind_high, ..]) = attributes.first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([low, high]));
        let data = attributes.get(4..length)?;
        match (u16::from_ne_bytes([kind, kind_high]), data.len()) {
            (DESTINATION, 4) => {
                address = <[u8; 4]>::try_from(data)
                    .ok()
                    .map(|it| Ipv4Addr::from(it).into());
            }
            (DESTINATION, 16) => {
                let octets = <[u8; 16]>::try_from(data).ok();
                address = octets.map(|it| IpAddr::from(Ipv6Addr::from(it)));
            }
            (LINK_ADDRESS, 6) => hardware = data.try_into().ok().map(HardwareAddress),
            _ => {}
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    let address = address?;
    let scope = match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => interface,
        IpAddr::V6(_) | IpAddr::V4(_) => 0,
    };
    Some(((address, scope), hardware?))
}

fn number(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_ne_bytes)
}

/// A client may get another address at any time.
const KEPT: Duration = Duration::from_secs(1);
/// One that has just come is not in the table yet; a flood of forged addresses must not read it each time.
const KEPT_WITHOUT: Duration = Duration::from_millis(50);
/// More than a link bears; the kernel's own table ends at 1,024 unless it was enlarged.
const NEIGHBOURS_MAX: usize = 65_536;
const READS_MAX: usize = 4096;
/// As much as the kernel puts into one answer.
const BUFFER: usize = 32 << 10;
/// struct nlmsghdr and struct ndmsg.
const HEADER: usize = 16;
const NDMSG: usize = 12;
/// Bytes of both.
const QUESTION: u32 = 28;
/// NLM_F_REQUEST, NLM_F_DUMP
const REQUEST_ALL: u16 = 0x0301;
/// NLMSG_DONE, NLMSG_ERROR
const DONE: u16 = 3;
const ERROR: u16 = 2;
const NEIGHBOUR: u16 = libc::RTM_NEWNEIGH;
const DESTINATION: u16 = libc::NDA_DST;
const LINK_ADDRESS: u16 = libc::NDA_LLADDR;
/// NUD_REACHABLE, NUD_STALE, NUD_DELAY, NUD_PROBE, NUD_PERMANENT, NUD_NOARP: the kernel has an address.
const KNOWN: u16 = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    /// struct ndmsg, then attributes.
    fn message(state: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut message = vec![0; NDMSG];
        message[4..8].copy_from_slice(&3_u32.to_ne_bytes());
        message[8..10].copy_from_slice(&state.to_ne_bytes());
        for (kind, data) in attributes {
            let length = u16::try_from(4 + data.len()).expect("short");
            message.extend(length.to_ne_bytes());
            message.extend(kind.to_ne_bytes());
            message.extend(*data);
            message.resize(message.len().next_multiple_of(4), 0);
        }
        message
    }

    const HARDWARE: &[u8] = &[0xdc, 0xa6, 0x32, 1, 2, 3];

    #[test]
    fn a_neighbour_has_two_addresses() {
        let known = HardwareAddress([0xdc, 0xa6, 0x32, 1, 2, 3]);
        let v4: &[u8] = &[192, 0, 2, 7];
        let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 7);
        let both = |address: &[u8]| message(0x02, &[(9, b"x"), (1, address), (2, HARDWARE)]);
        let found = neighbour(&both(v4));
        assert_eq!(
            found,
            Some(((Ipv4Addr::new(192, 0, 2, 7).into(), 0), known))
        );
        let found = neighbour(&both(&link_local.octets()));
        assert_eq!(found, Some(((link_local.into(), 3), known)));
        for none in [
            message(0x01, &[(1, v4), (2, HARDWARE)]),
            message(0x20, &[(1, v4), (2, HARDWARE)]),
            message(0x02, &[(1, v4)]),
            message(0x02, &[(1, v4), (2, b"short")]),
            message(0x02, &[(2, HARDWARE)]),
        ] {
            assert_eq!(neighbour(&none), None);
        }
        let whole = both(v4);
        for length in 0..whole.len() - 2 {
            assert_eq!(neighbour(&whole[..length]), None, "{length}");
        }
    }

    #[test]
    fn the_table_of_this_machine_can_be_read() {
        let mut neighbours = Neighbours::open().expect("a socket");
        let now = Moment::START;
        let found = neighbours.find(now, Ipv4Addr::LOCALHOST.into(), 0);
        assert_eq!(found, Neighbour::Unknown);
        // Of those kept for documentation none is here.
        let found = neighbours.find(now + KEPT, Ipv4Addr::new(192, 0, 2, 7).into(), 0);
        assert_eq!(found, Neighbour::OffLink);
    }
}
