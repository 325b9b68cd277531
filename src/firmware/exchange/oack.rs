//! What an exchange does with an OACK: the options that it takes, and those that end it.

use std::time::Duration;

use super::{End, Exchange, NOTHING, Verdict, ends};
use crate::firmware::Reason;
use crate::firmware::outbox::{Content, Outbox};
use crate::firmware::profile::{Blksize, Empty, Patience};
use crate::moment::Moment;

impl Exchange {
    pub(super) fn on_oack(&mut self, now: Moment, options: &[u8], outbox: &mut Outbox) -> Verdict {
        let rules = self.profile.oack;
        let mut fields = options.split(|&byte| byte == 0);
        while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
            let Some(value) = decimal(value) else {
                continue;
            };
            if let Err(code) = self.on_option(name, value) {
                self.push(outbox, Content::Error(code, ""));
                return ends(End::GaveUp(Reason::BadOption));
            }
            if value == 0 && name.eq_ignore_ascii_case(b"tsize") {
                match rules.empty {
                    Empty::File => {}
                    Empty::NoFile => return ends(End::Refused(NOT_FOUND)),
                    Empty::Broken => return ends(End::GaveUp(Reason::BadOption)),
                }
            }
        }
        if self.probe().is_some() {
            return self.end_probe(outbox);
        }
        self.push_ack(outbox);
        if self.profile.oack_is_fresh {
            self.wait_afresh(now);
        }
        if let Patience::SinceAnswerOrBlock(millis) = self.profile.patience {
            self.give_up_at = Some(now + Duration::from_millis(millis));
        }
        NOTHING
    }

    /// Takes one granted option, or returns the error code that it deserves.
    fn on_option(&mut self, name: &[u8], value: u64) -> Result<(), u16> {
        let rules = self.profile.oack;
        let value32 = u32::try_from(value).unwrap_or(u32::MAX);
        let asked = self
            .asked()
            .find(|(asked, _)| name.eq_ignore_ascii_case(asked.as_bytes()))
            .map(|(_, value)| value);
        let named = |wanted: &[u8]| name.eq_ignore_ascii_case(wanted);
        let Some(asked) = asked else {
            if named(b"timeout") && rules.adopts_timeout && 0 < value {
                self.adopted_timeout = Some(value32);
                return Ok(());
            }
            return rules.unasked.map_or(Ok(()), Err);
        };
        if named(b"blksize") {
            match rules.blksize {
                Blksize::UpToAsked(code) if asked < value => return Err(code),
                Blksize::Within(least, most, code) if value32 < least || most < value32 => {
                    return Err(code);
                }
                Blksize::Any | Blksize::UpToAsked(_) | Blksize::Within(..) => {}
            }
            self.blksize = value32;
        } else if named(b"windowsize") {
            self.windowsize = value32.max(1);
        } else if named(b"tsize") {
            self.size = value;
        } else if named(b"msftwindow") {
            self.long_acks = true;
        } else if named(b"timeout")
            && asked != value
            && let Some(code) = rules.other_timeout
        {
            return Err(code);
        }
        Ok(())
    }

    pub(super) fn end_probe(&mut self, outbox: &mut Outbox) -> Verdict {
        let Some(probe) = self.probe() else {
            return NOTHING;
        };
        self.push(outbox, Content::Error(probe.code, ""));
        ends(End::Probed {
            size: self.size,
            pause: probe.pause,
        })
    }
}

fn decimal(text: &[u8]) -> Option<u64> {
    str::from_utf8(text).ok()?.parse().ok()
}

const NOT_FOUND: u16 = 1;
