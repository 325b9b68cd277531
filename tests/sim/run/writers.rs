//! The machines that write.

use ripple_tftpd::firmware::{Packet, Writer, WriterStatus};
use ripple_tftpd::moment::Moment;

use super::{DISK_TAKES, Run};
use crate::events::{Content, Event, number};
use crate::link::nanos;
use crate::server::ServerUnderTest;
use crate::world::Arrival;

/// A machine that writes.
pub(super) struct Writing {
    writer: Writer,
    /// When its event comes up, in microseconds.
    filed: u64,
}

impl Writing {
    pub(super) fn on_time(&mut self, now: Moment) {
        self.filed = u64::MAX;
        match self.writer.status() {
            WriterStatus::Idle => self.writer.begin(now),
            _ => self.writer.on_deadline(now),
        }
    }
}

impl<S: ServerUnderTest> Run<'_, S> {
    /// Machines that write begin when the others are switched on, each with a file of its own.
    pub(super) fn let_write(&mut self) {
        self.network.takes_uploads = self.world.writing() > 0;
        self.network.disk_takes = DISK_TAKES;
        for (group, of) in self.world.writers.iter().enumerate() {
            for number in 0..of.count {
                let name = format!("upload-{group}-{number}");
                let writer = Writer::new(of.kind, name, of.size, self.random.next());
                self.writers.push(Writing {
                    writer,
                    filed: u64::MAX,
                });
            }
        }
        for place in 0..self.writers.len() {
            let machine = number(self.seats.len() + place);
            let at = match self.world.arrival {
                Arrival::AtOnce => 0,
                Arrival::Within(span) => self.random.below(nanos(span)),
                Arrival::Staggered(gap) => place as u64 * nanos(gap),
            };
            self.network.events.file(at, Event::SwitchOn(machine));
        }
    }

    pub(super) fn writing(&mut self, machine: u32) -> Option<&mut Writing> {
        let place = (machine as usize).checked_sub(self.seats.len())?;
        self.writers.get_mut(place)
    }

    /// A packet comes to a machine that writes.
    pub(super) fn tell(&mut self, machine: u32, port: u16, from: u16, content: Content) {
        let now = self.network.now;
        self.digest.add(u64::from(machine));
        let place = machine as usize - self.seats.len();
        let packet = match content {
            Content::Data { block, length, .. } => Packet::Data { block, length },
            Content::Oack(bytes) => Packet::Oack(self.network.buffers.take(bytes)),
            Content::Ack(block) => Packet::Ack(block),
            Content::Error(code) => Packet::Error { code },
        };
        let writer = &mut self.writers[place].writer;
        let was_busy = writer.status() == WriterStatus::Busy;
        writer.on_packet(now, port, from, packet);
        if was_busy && writer.status() == WriterStatus::Done {
            // What was acknowledged is on the disk.
            let written = self.network.uploaded.get(writer.name().as_bytes());
            let is_whole = written.is_some_and(|bytes| writer.is_file(bytes));
            assert!(is_whole, "{} is not what was sent", writer.name());
            self.under_way -= 1;
        }
        self.attend_writer(machine);
    }

    pub(super) fn attend_writer(&mut self, machine: u32) {
        let mut bytes = Vec::new();
        let place = machine as usize - self.seats.len();
        let it = &mut self.writers[place];
        let status = it.writer.status();
        assert!(
            matches!(status, WriterStatus::Busy | WriterStatus::Done),
            "{} {status:?}",
            it.writer.name()
        );
        while let Some(to) = it.writer.next_datagram(&mut bytes) {
            self.network.send_up(machine, it.writer.port(), to, &bytes);
        }
        if let Some(deadline) = it.writer.deadline()
            && deadline.micros() < it.filed
        {
            it.filed = deadline.micros();
            let at = (it.filed * 1000).max(self.network.clock);
            self.network.events.file(at, Event::Deadline(machine));
        }
    }
}
