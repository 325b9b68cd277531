//! The bar that a person at a terminal looks at.

use std::io::{IsTerminal, stderr};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ripple_tftpd::firmware::Status;

use crate::fleet::Fleet;
use crate::seat::Fate;

/// A progress bar on the standard error, or nothing where that is no terminal.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(crate) fn new(clients: usize) -> Progress {
        let bar = stderr().is_terminal().then(|| {
            let target = ProgressDrawTarget::stderr();
            let bar = ProgressBar::with_draw_target(Some(clients as u64), target);
            let style = ProgressStyle::with_template("{elapsed:>4} {bar:32.green/dim} {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Progress { bar }
    }

    pub(crate) fn show(&mut self, fleet: &Fleet) {
        let Some(bar) = &self.bar else { return };
        let (mut booting, mut waiting, mut done, mut failed) = (0_u64, 0, 0, 0);
        for seat in &fleet.seats {
            match (seat.fate, seat.machine.status()) {
                (Fate::Booted, _) => done += 1,
                (Fate::Failed(_), _) => failed += 1,
                (Fate::UnderWay, Status::Asking) => waiting += 1,
                (Fate::UnderWay, Status::Receiving | Status::Thinking) => booting += 1,
                (Fate::UnderWay, Status::Off | Status::Booted | Status::Failed(_)) => {}
            }
        }
        bar.set_position(done + failed);
        bar.set_message(format!(
            "booting {booting}, waiting {waiting}, done {done}, failed {failed}"
        ));
    }

    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
