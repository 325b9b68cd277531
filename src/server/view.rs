//! What may be seen of the clients from outside, to show it to people. Nothing is decided by it.

use super::client::Stage;
use super::{Count, Report, Server};
use crate::moment::Moment;
use crate::transfer::Outcome;

/// Where a client is on its way, for those who show it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Waits, and was sent nothing.
    Pending,
    /// Waits, and is kept alive.
    Held,
    /// Has a slot.
    Running,
    /// Far away: goes on without a slot.
    Lent,
    /// Was sent everything; the last ACK is missing.
    Finishing,
    /// Asked again, and another transfer answers.
    Overtaken,
}

impl Server {
    /// How many clients are in each stage.
    pub fn count(&self) -> Count {
        self.count
    }

    /// The clients in no particular order, each as if it ended now. To look at one takes some nanoseconds; the
    /// caller bounds how many.
    pub fn clients(&self, now: Moment) -> impl Iterator<Item = (Standing, Report<'_>)> {
        self.clients.iter().map(move |(_, client)| {
            let phase = match client.stage {
                Stage::Pending(_) => Standing::Pending,
                Stage::Held { .. } => Standing::Held,
                Stage::Running { .. } => Standing::Running,
                Stage::Lent => Standing::Lent,
                Stage::Finishing | Stage::Dallying => Standing::Finishing,
                Stage::Overtaken { .. } => Standing::Overtaken,
            };
            (phase, client.report(now, Outcome::ShutDown))
        })
    }
}
