//! The third field of a rule: what a match is replaced by, the text of a refusal, or the name of a label.

use std::io::Write;
use std::net::IpAddr;

use super::{Asked, Dialect};
use crate::names::hardware::HardwareAddress;
use crate::names::regex::Groups;

/// A text with places to be filled.
#[derive(Clone, Debug, Default)]
pub(super) struct Template {
    parts: Box<[Part]>,
}

/// A part of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Byte(u8),
    /// What the group matched.
    Group(u8),
    /// The client's address as text, or in hexadecimal.
    Address,
    HexAddress,
    /// The client's hardware address, or nothing.
    Hardware,
    /// From here on in this case.
    Case(Case),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Case {
    Upper,
    Lower,
    AsItIs,
}

impl Template {
    pub(super) fn new(field: &[u8], dialect: Dialect) -> Template {
        let mut parts = Vec::new();
        let mut bytes = field.iter().copied();
        while let Some(byte) = bytes.next() {
            let part = match byte {
                b'\\' => match bytes.next() {
                    Some(digit @ b'0'..=b'9') => Part::Group(digit - b'0'),
                    Some(b'i') => Part::Address,
                    Some(b'x') => Part::HexAddress,
                    Some(b'm') if dialect == Dialect::Tftpd => Part::Hardware,
                    Some(b'U') => Part::Case(Case::Upper),
                    Some(b'L') => Part::Case(Case::Lower),
                    Some(b'E') => Part::Case(Case::AsItIs),
                    Some(other) => Part::Byte(other),
                    None => Part::Byte(b'\\'),
                },
                _ => Part::Byte(byte),
            };
            parts.push(part);
        }
        Template {
            parts: parts.into(),
        }
    }

    /// It asks for the hardware address of the client.
    pub(super) fn wants_hardware(&self) -> bool {
        self.parts.contains(&Part::Hardware)
    }

    /// Adds the text to `out`; `name` is what the groups were found in.
    pub(super) fn expand(
        &self,
        name: &[u8],
        groups: &Groups,
        asked: &Asked<'_>,
        out: &mut Vec<u8>,
    ) {
        let mut case = Case::AsItIs;
        for part in &self.parts {
            let begin = out.len();
            match *part {
                Part::Byte(byte) => out.push(byte),
                Part::Group(number) => {
                    if let Some(range) = groups.get(usize::from(number)).and_then(Option::clone) {
                        out.extend_from_slice(&name[range]);
                    }
                }
                Part::Address => write_address(asked.client, out),
                Part::HexAddress => write_hex(asked.client, out),
                Part::Hardware => write_hardware(asked.hardware, out),
                Part::Case(now) => case = now,
            }
            match case {
                Case::Upper => out[begin..].make_ascii_uppercase(),
                Case::Lower => out[begin..].make_ascii_lowercase(),
                Case::AsItIs => {}
            }
        }
    }
}

fn write_hardware(address: Option<HardwareAddress>, out: &mut Vec<u8>) {
    if let Some(address) = address {
        // Writing to a vector does not fail.
        let _ = write!(out, "{address}");
    }
}

fn write_address(client: IpAddr, out: &mut Vec<u8>) {
    let _ = write!(out, "{}", client.to_canonical());
}

fn write_hex(client: IpAddr, out: &mut Vec<u8>) {
    let _ = match client.to_canonical() {
        IpAddr::V4(address) => write!(out, "{:08X}", u32::from(address)),
        IpAddr::V6(address) => write!(out, "{:032X}", u128::from(address)),
    };
}
