//! Notices what a NAT that rewrites addresses looks like: first packets to one address are not answered, or refused, again
//! and again, and never is one acknowledged.

use std::net::IpAddr;

use crate::server::Report;
use crate::transfer::Outcome;

/// Addresses that have not acknowledged anything yet.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// Each with how many first packets were lost on it, the newest last.
    silent: Vec<(IpAddr, u32)>,
    is_told: bool,
}

impl Suspects {
    /// A request has ended. Returns its address if that looks like a NAT, the first time that one does.
    pub(super) fn note(&mut self, report: &Report<'_>) -> Option<IpAddr> {
        if self.is_told {
            return None;
        }
        let address = report.peer.address;
        let known = self.silent.iter().position(|(of, _)| *of == address);
        let lost = known.map_or(0, |place| self.silent.remove(place).1);
        match report.outcome {
            _ if report.was_answered => return None,
            Outcome::NoAnswer | Outcome::PortClosed if lost + 1 == LOST_MAX => {
                self.is_told = true;
                return Some(address);
            }
            Outcome::NoAnswer | Outcome::PortClosed => {}
            // It says nothing of the way.
            _ if lost == 0 => return None,
            _ => return self.keep(address, lost),
        }
        self.keep(address, lost + 1)
    }

    fn keep(&mut self, address: IpAddr, lost: u32) -> Option<IpAddr> {
        if self.silent.len() == SUSPECTS_MAX {
            self.silent.remove(0);
        }
        self.silent.push((address, lost));
        None
    }
}

/// A single machine is switched off, or closes its port, less often in a row.
const LOST_MAX: u32 = 5;
/// A flood of forged addresses drives others out.
const SUSPECTS_MAX: usize = 16;
