//! The hardware address of a client on the same link.

use std::fmt;

/// An Ethernet address, written as `dc-a6-32-01-02-03`: the name of a client's directory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HardwareAddress(pub [u8; 6]);

impl fmt::Display for HardwareAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.0;
        write!(f, "{first:02x}")?;
        rest.iter().try_for_each(|byte| write!(f, "-{byte:02x}"))
    }
}
