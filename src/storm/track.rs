//! What a machine went through, as spans of time: the rows of the picture.

use std::time::Duration;

use ripple_tftpd::moment::Moment;

/// What a machine experiences for a while.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// It has asked and heard nothing.
    Waiting,
    /// It was answered, but gets no more than a block now and then.
    KeptAlive,
    /// It receives.
    Transferring,
}

/// A phase and its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    pub(crate) phase: Phase,
    pub(crate) from: Moment,
    pub(crate) to: Moment,
}

/// The past of one machine.
#[derive(Debug, Default)]
pub(crate) struct Track {
    spans: Vec<Span>,
    /// The phase that has not ended yet.
    under_way: Option<UnderWay>,
}

#[derive(Clone, Copy, Debug)]
struct UnderWay {
    phase: Phase,
    from: Moment,
    /// The last block of a transfer, and how many there were.
    last: Moment,
    blocks: u32,
}

impl Track {
    /// A request left.
    pub(crate) fn asked(&mut self, now: Moment) {
        if self.phase() != Some(Phase::Waiting) {
            self.end(now, false);
            self.begin(now, Phase::Waiting);
        }
    }

    /// The server answered without data.
    pub(crate) fn answered(&mut self, now: Moment) {
        if self.phase() == Some(Phase::Waiting) {
            self.end(now, false);
            self.begin(now, Phase::KeptAlive);
        }
    }

    /// A block came.
    pub(crate) fn received(&mut self, now: Moment) {
        if let Some(current) = &mut self.under_way
            && current.phase == Phase::Transferring
        {
            if now.since(current.last) < PAUSE {
                current.last = now;
                current.blocks += 1;
                return;
            }
            let last = current.last;
            self.end(last, false);
            self.begin(last, Phase::KeptAlive);
        }
        self.end(now, false);
        self.begin(now, Phase::Transferring);
    }

    /// The machine is busy with itself.
    pub(crate) fn paused(&mut self, now: Moment) {
        self.end(now, false);
    }

    /// A file is complete.
    pub(crate) fn completed(&mut self, now: Moment) {
        self.end(now, true);
    }

    /// The boot failed.
    pub(crate) fn failed(&mut self, now: Moment) {
        if let Some(current) = self.under_way
            && current.phase == Phase::Transferring
            && PAUSE <= now.since(current.last)
        {
            self.end(current.last, false);
            self.begin(current.last, Phase::KeptAlive);
        }
        self.end(now, false);
    }

    /// Everything up to now, in order.
    pub(crate) fn spans(&self, now: Moment) -> impl Iterator<Item = Span> + '_ {
        let open = self.under_way.map(|current| Span {
            phase: current.phase,
            from: current.from,
            to: now,
        });
        self.spans.iter().copied().chain(open)
    }

    fn phase(&self) -> Option<Phase> {
        self.under_way.map(|current| current.phase)
    }

    fn begin(&mut self, now: Moment, phase: Phase) {
        self.under_way = Some(UnderWay {
            phase,
            from: now,
            last: now,
            blocks: 1,
        });
    }

    fn end(&mut self, now: Moment, is_complete: bool) {
        let Some(current) = self.under_way.take() else {
            return;
        };
        let is_trickle = current.phase == Phase::Transferring
            && current.blocks <= TRICKLE_BLOCKS
            && !is_complete;
        let phase = if is_trickle {
            Phase::KeptAlive
        } else {
            current.phase
        };
        match self.spans.last_mut() {
            Some(before) if before.phase == phase && before.to == current.from => before.to = now,
            _ => self.spans.push(Span {
                phase,
                from: current.from,
                to: now,
            }),
        }
    }
}

/// A transfer that stands still for so long is not under way.
const PAUSE: Duration = Duration::from_millis(500);
/// So few blocks at once are no transfer, unless they end the file: a server that keeps a client alive
/// sends no more.
const TRICKLE_BLOCKS: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_micros(millis * 1000)
    }

    fn seen(track: &Track) -> Vec<(Phase, u64, u64)> {
        let seen = |span: Span| {
            (
                span.phase,
                span.from.micros() / 1000,
                span.to.micros() / 1000,
            )
        };
        track.spans(at(9000)).map(seen).collect()
    }

    #[test]
    fn a_transfer_after_a_wait() {
        let mut track = Track::default();
        track.asked(at(0));
        track.asked(at(1000));
        track.answered(at(2000));
        for block in 0..10 {
            track.received(at(2000 + block));
        }
        track.completed(at(2009));
        assert_eq!(
            seen(&track),
            [
                (Phase::Waiting, 0, 2000),
                (Phase::KeptAlive, 2000, 2000),
                (Phase::Transferring, 2000, 2009)
            ]
        );
    }

    #[test]
    fn a_machine_that_thinks_does_not_wait() {
        let mut track = Track::default();
        track.asked(at(0));
        track.answered(at(10));
        track.paused(at(10));
        track.asked(at(40));
        track.received(at(50));
        track.completed(at(50));
        assert_eq!(
            seen(&track),
            [
                (Phase::Waiting, 0, 10),
                (Phase::KeptAlive, 10, 10),
                (Phase::Waiting, 40, 50),
                (Phase::Transferring, 50, 50)
            ]
        );
    }

    #[test]
    fn a_block_now_and_then_is_no_transfer() {
        let mut track = Track::default();
        track.asked(at(0));
        for second in 1..5 {
            track.received(at(second * 1000));
        }
        for block in 0..10 {
            track.received(at(5000 + block));
        }
        track.failed(at(8000));
        assert_eq!(
            seen(&track),
            [
                (Phase::Waiting, 0, 1000),
                (Phase::KeptAlive, 1000, 5000),
                (Phase::Transferring, 5000, 5009),
                (Phase::KeptAlive, 5009, 8000)
            ]
        );
    }
}
