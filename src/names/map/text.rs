//! The third field of a rule: what a match is replaced by, the text of a refusal, or the name of a label.

use std::net::IpAddr;

use super::{Asked, Dialect};
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
                Part::Address => out.extend(asked.client.to_canonical().to_string().bytes()),
                Part::HexAddress => out.extend(match asked.client.to_canonical() {
                    IpAddr::V4(address) => format!("{:08X}", address.to_bits()).into_bytes(),
                    IpAddr::V6(address) => format!("{:032X}", address.to_bits()).into_bytes(),
                }),
                Part::Hardware => {
                    let address = asked.hardware.map(|address| address.to_string());
                    out.extend(address.unwrap_or_default().into_bytes());
                }
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
