//! The third field of a rule: what a match is replaced by, the text of a refusal, or the name of a label.

use std::net::IpAddr;

use super::{Asked, Dialect};
use crate::names::regex::Groups;

/// A text with places to be filled: each byte, and whether a backslash stands before it.
#[derive(Clone, Debug)]
pub(super) struct Template(Box<[(u8, bool)]>);

impl Template {
    pub(super) fn new(field: &[u8], dialect: Dialect) -> Template {
        let mut bytes = field.iter().copied();
        let parts = std::iter::from_fn(|| match bytes.next()? {
            b'\\' => Some(match bytes.next() {
                None => (b'\\', false),
                Some(b'm') if dialect == Dialect::InTftpd => (b'm', false),
                Some(byte) => (byte, true),
            }),
            byte => Some((byte, false)),
        });
        Template(parts.collect())
    }

    /// It asks for the hardware address of the client.
    pub(super) fn wants_hardware(&self) -> bool {
        self.0.contains(&(b'm', true))
    }

    /// Fills the places; `name` is what the groups were found in.
    pub(super) fn expand(&self, name: &[u8], groups: &Groups, asked: &Asked<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        // What follows `\U` or `\L` is in this case.
        let mut case = b'E';
        for &(byte, is_escaped) in &self.0 {
            let begin = out.len();
            match byte {
                _ if !is_escaped => out.push(byte),
                b'0'..=b'9' => {
                    let group = groups[usize::from(byte - b'0')].clone();
                    out.extend_from_slice(&name[group.unwrap_or(0..0)]);
                }
                b'i' => out.extend(asked.client.to_canonical().to_string().bytes()),
                b'x' => out.extend(match asked.client.to_canonical() {
                    IpAddr::V4(address) => format!("{:08X}", address.to_bits()).into_bytes(),
                    IpAddr::V6(address) => format!("{:032X}", address.to_bits()).into_bytes(),
                }),
                b'm' => {
                    let address = asked.hardware.map(|address| address.to_string());
                    out.extend(address.unwrap_or_default().into_bytes());
                }
                b'U' | b'L' | b'E' => case = byte,
                _ => out.push(byte),
            }
            match case {
                b'U' => out[begin..].make_ascii_uppercase(),
                b'L' => out[begin..].make_ascii_lowercase(),
                _ => {}
            }
        }
        out
    }
}
