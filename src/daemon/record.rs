//! The events of the log as JSON, an object each. Names of fields and words for values stay as they are: programs read
//! them. The manual has the table.

use std::time::Duration;

use super::events::{Drops, LogEvent, Reloaded};
use super::json::Object;
use super::overview::{write_terms, write_totals};
use super::summary::StormReport;
use super::text::is_plain;
use super::words::{astray_word, direction_word, malformed_word, outcome_word, refusal_word};
use crate::name::FileName;
use crate::server::{Event, Report};
use crate::transfer::Outcome;
use crate::wire::Refusal;

/// An event as one line of JSON, without the end of the line; `time` is since 1970.
pub(super) fn record(time: Duration, event: &LogEvent<'_>, user: &str) -> String {
    let mut text = String::with_capacity(256);
    let mut to = Object::new(&mut text);
    let level = match event.class().0 {
        log::Level::Error => "error",
        log::Level::Warn => "warn",
        log::Level::Info => "info",
        log::Level::Debug => "debug",
        log::Level::Trace => "trace",
    };
    to.seconds("time", time).text("level", level);
    fields(&mut to, event, user);
    to.end();
    text
}

fn fields(to: &mut Object<'_>, event: &LogEvent<'_>, user: &str) {
    match *event {
        LogEvent::Settings(settings) => {
            kind(to, "settings").text("settings", format_args!("{settings:?}"))
        }
        LogEvent::IgnoredOptions(options) => {
            kind(to, "ignored_options").text("options", options.join(", "))
        }
        LogEvent::PortTaken(address, left) => kind(to, "port_taken")
            .text("address", address)
            .seconds("trying_for", left),
        LogEvent::Listening(address, handed) => {
            kind(to, "listening").text("address", address);
            if let Some(socket) = handed {
                to.text("socket", socket);
            }
            to
        }
        LogEvent::AddressMissing(address) => kind(to, "address_missing").text("address", address),
        LogEvent::ReceiveBuffer {
            address,
            bytes,
            wanted,
        } => kind(to, "receive_buffer")
            .text("address", address)
            .number("bytes", bytes)
            // Linux returns twice what it granted.
            .number("wanted", 2 * wanted),
        LogEvent::SmallMachine {
            megabytes,
            max_pending,
        } => kind(to, "small_machine")
            .number("megabytes", megabytes)
            .number("max_pending", max_pending),
        LogEvent::FewDescriptors {
            limit,
            needed,
            limits,
        } => kind(to, "few_descriptors")
            .number("limit", limit)
            .number("needed", needed)
            .number("max_held", limits.max_held),
        LogEvent::RootUnreadable(why) => kind(to, "root_unreadable").text("error", why),
        LogEvent::RootLinkFollowed(path, within) => kind(to, "root_link_followed")
            .text("path", path.display())
            .text("within", within.display()),
        LogEvent::RootLinkIgnored(path) => {
            kind(to, "root_link_ignored").text("path", path.display())
        }
        LogEvent::RootSwapped(path, real) => kind(to, "root_swapped")
            .text("path", path.display())
            .text("leads_to", real.display()),
        LogEvent::RootAstray(path, astray) => kind(to, "root_astray")
            .text("path", path.display())
            .text("fault", astray_word(astray)),
        LogEvent::RulesUnreadable(why) => kind(to, "rules_unreadable").text("error", why),
        LogEvent::RulesAlone(path) => kind(to, "rules_alone").text("path", path.display()),
        LogEvent::Reloaded(Reloaded { rules, networks }) => {
            kind(to, "reloaded");
            if let Some(rules) = rules {
                to.number("rules", rules);
            }
            if let Some(networks) = networks {
                to.number("networks", networks);
            }
            to
        }
        LogEvent::NotReloaded(why) => kind(to, "not_reloaded").text("error", why),
        LogEvent::Forbidden(peer, name, text) => kind(to, "forbidden")
            .client(peer)
            .name(name)
            .text("message", String::from_utf8_lossy(text)),
        LogEvent::OtherCase(peer, asked, there) => kind(to, "other_case")
            .client(peer)
            .names(asked.as_bytes(), there.as_bytes()),
        LogEvent::NotOnTheLink(peer) => kind(to, "not_on_the_link").client(peer),
        LogEvent::Confined { user, sandbox } => {
            kind(to, "confined").text("sandbox", sandbox);
            match user {
                Some(user) => to.text("user", user),
                None => to,
            }
        }
        LogEvent::Server { event, rejected_by } => {
            reported(to, event, user);
            match rejected_by {
                Some(by) => to.text("rejected_by", by),
                None => to,
            }
        }
        LogEvent::Rejected { peer, by, error } => kind(to, "rejected")
            .client(peer)
            .text("rejected_by", by)
            .text("error", error),
        LogEvent::Rewritten(address) => kind(to, "rewritten").text("address", address),
        LogEvent::LameDuck(time) => kind(to, "lame_duck").seconds("lasts", time),
        LogEvent::AnswerFailed(peer, error) => {
            kind(to, "answer_failed").client(peer).text("error", error)
        }
        LogEvent::ReceiveFailed(peer, error) => {
            kind(to, "receive_failed").client(peer).text("error", error)
        }
        LogEvent::ListenFailed(error) => kind(to, "listen_failed").text("error", error),
        LogEvent::PollFailed(error) => kind(to, "poll_failed").text("error", error),
        LogEvent::DiskFailed(peer, error) => {
            kind(to, "disk_failed").client(peer).text("error", error)
        }
        LogEvent::DiskSilent { span, waiting } => kind(to, "disk_silent")
            .seconds("silent", span)
            .number("waiting", waiting),
        LogEvent::DiskAnswers(after) => kind(to, "disk_answers").seconds("after", after),
        LogEvent::WriteFailed(peer, error) => {
            kind(to, "write_failed").client(peer).text("error", error)
        }
        LogEvent::Swept(files) => kind(to, "swept").number("files", files),
        LogEvent::Unmapped(name) => kind(to, "unmapped").name(name),
        LogEvent::Dropped(drops) => dropped(kind(to, "dropped"), drops),
        LogEvent::Library(record) => kind(to, "library")
            .text("target", record.target())
            .text("message", record.args()),
        LogEvent::Suppressed(lines) => kind(to, "suppressed").number("lines", lines),
        LogEvent::WatchFailed(path, error) => kind(to, "watch_failed")
            .text("path", path.display())
            .text("error", error),
        LogEvent::StatsWritten(path) => kind(to, "stats_written").text("path", path.display()),
        LogEvent::Overview(overview) => {
            kind(to, "overview");
            overview.write_numbers(to);
            to
        }
        LogEvent::Client(row) => {
            kind(to, "client");
            row.write(to);
            to
        }
        LogEvent::StormOver(storm) => storm_over(kind(to, "storm_over"), storm),
        LogEvent::Stopping { serving, drain } => kind(to, "stopping")
            .number("serving", serving)
            .seconds("drain", drain),
        LogEvent::Stopped(stats) => write_totals(kind(to, "stopped"), stats),
    };
}

fn kind<'o, 'a>(to: &'o mut Object<'a>, event: &str) -> &'o mut Object<'a> {
    to.text("event", event)
}

fn reported(to: &mut Object<'_>, event: Event<'_>, user: &str) {
    match event {
        Event::Ended(report) => ended(kind(to, "ended"), &report, user),
        Event::Refused {
            peer,
            name,
            served,
            refusal,
        } => {
            names(kind(to, "refused").client(peer), name, served);
            refused(to, refusal, user);
        }
        Event::Taken {
            peer,
            asked,
            name,
            waiting,
        } => {
            names(kind(to, "taken").client(peer), asked, Some(name));
            to.number("waiting", waiting);
        }
        Event::Malformed { peer, malformed } => {
            kind(to, "nonsense")
                .client(peer)
                .text("fault", malformed_word(malformed));
        }
        Event::Unanswered {
            peer,
            name,
            served,
            refusal,
        } => {
            names(kind(to, "unanswered").client(peer), name, served);
            refused(to, refusal, user);
        }
        Event::AddressFull { peer } => drop(kind(to, "address_full").client(peer)),
        Event::QueueFull { peer } => drop(kind(to, "queue_full").client(peer)),
        Event::Exhausted => drop(kind(to, "exhausted")),
        Event::LargeBlocksLost { peer } => drop(kind(to, "large_blocks_lost").client(peer)),
        Event::FarAway { peer, round_trip } => {
            kind(to, "far_away")
                .client(peer)
                .seconds("round_trip", round_trip);
        }
    }
}

fn ended(to: &mut Object<'_>, report: &Report<'_>, user: &str) {
    names(to.client(report.peer), report.asked, Some(report.name));
    to.text("kind", direction_word(report.direction))
        .text("outcome", outcome_word(report.outcome));
    match report.outcome {
        Outcome::Refused(refusal) => refused(to, refusal, user),
        Outcome::ClientError(code) => drop(to.number("code", code)),
        _ => {}
    }
    to.truth("answered", report.was_answered)
        .number("bytes", report.bytes)
        .seconds("pending", report.pending)
        .seconds("held", report.held)
        .seconds("running", report.running)
        .number("retransmissions", report.retransmissions);
    write_terms(to, report);
}

/// The name that was looked up, or asked for if none was; the name that was asked for as well if it is another.
fn names(to: &mut Object<'_>, asked: &[u8], served: Option<FileName<'_>>) {
    match served {
        Some(served) if !is_plain(asked, served) => to.names(asked, served.as_bytes()),
        Some(served) => to.name(served.as_bytes()),
        None => to.name(asked),
    };
}

/// The code is the one of the ERROR packet. The user that may not read a file is named.
fn refused(to: &mut Object<'_>, refusal: Refusal, user: &str) {
    to.text("refusal", refusal_word(refusal))
        .number("code", refusal.code());
    if refusal == Refusal::NoAccess {
        to.text("user", user);
    }
}

fn dropped<'o, 'a>(to: &'o mut Object<'a>, drops: Drops) -> &'o mut Object<'a> {
    let Drops {
        denied,
        client_full,
        malformed,
        names,
        withheld,
    } = drops;
    to.number("denied", denied)
        .number("client_full", client_full)
        .number("malformed", malformed)
        .number("disk_busy", names)
        .number("withheld", withheld)
}

fn storm_over<'o, 'a>(to: &'o mut Object<'a>, of: &StormReport) -> &'o mut Object<'a> {
    to.seconds("lasted", of.lasted)
        .number("complete", of.complete)
        .number("uploads", of.uploads)
        .number("waited", of.waited)
        .number("peak", of.peak)
        .seconds("longest_wait", of.longest_wait)
        .number("retransmissions", of.retransmissions)
        .number("sent_datagrams", of.sent_datagrams)
        .number("slots_used_percent", of.slots_used);
    if let Some(processor) = of.processor {
        to.number("processor_percent", processor);
    }
    to.number("disk_waits", of.disk_waits)
        .number("full_sockets", of.full_sockets)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::SocketAddr;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::name::{NAME_MAX, RootPrefixes};

    /// Control characters, quotes, line ends, bytes that are no text, whole and cut characters: any name, again and again.
    fn evil(number: u64) -> Vec<u8> {
        let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 32).unwrap_or(0) % below
        };
        let pieces: [&[u8]; 12] = [
            b"\"",
            b"\\",
            b"\n",
            b"\r\n",
            b"\x1b[2J",
            b"\x7f",
            b"\xff",
            b"\xc3\xa9",
            b"\xf0\x9f",
            b"\xe2\x80\xae",
            b"\\u0000",
            b"a",
        ];
        let count = 1 + next(if number.is_multiple_of(100) { 800 } else { 40 });
        let name = (0..count).flat_map(|_| pieces[next(pieces.len())].iter().copied());
        name.collect()
    }

    /// A hostile run: every line is one object, and every name can be had back from it.
    #[test]
    fn jq_reads_100_000_lines_of_evil_names() {
        let jq = |filter| {
            let mut jq = Command::new("jq");
            jq.args(["-r", filter])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped());
            jq.spawn()
        };
        let Ok(mut child) = jq(
            r#"if .event == "refused" and (.time | type) == "number" and (.port | type) == "number"
               then .name_hex // (.name | @base64) else error end"#,
        ) else {
            return eprintln!("skipped: no jq to read JSON with");
        };
        let mut input = child.stdin.take().expect("a pipe");
        let peer = SocketAddr::from(([192, 0, 2, 7], 2070)).into();
        let writer = std::thread::spawn(move || {
            for number in 0..LINES {
                let name = &*evil(number);
                let refusal = Refusal::NotFound;
                let event = Event::Refused {
                    peer,
                    name,
                    served: None,
                    refusal,
                };
                let event = LogEvent::Server {
                    event,
                    rejected_by: None,
                };
                let line = record(Duration::from_millis(number), &event, "");
                assert!(
                    line.len() < 4_096 && line.bytes().all(|byte| (b' '..=b'~').contains(&byte))
                );
                writeln!(input, "{line}").expect("jq reads");
            }
        });
        let output = child.wait_with_output().expect("jq ends");
        writer.join().expect("all was written");
        assert!(output.status.success(), "{}", output.status);
        let text = String::from_utf8(output.stdout).expect("text");
        let read: Vec<&str> = text.lines().collect();
        assert_eq!(read.len() as u64, LINES);
        let (mut whole, mut bytes) = (0, 0);
        for (number, read) in (0..).zip(read) {
            let name = evil(number);
            let shown = &name[..name.len().min(384)];
            let hex: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
            if std::str::from_utf8(&name).is_err() {
                bytes += 1;
                assert_eq!(read, hex);
            } else if name.len() <= 384 {
                whole += 1;
                assert_eq!(read, base64(&name));
            }
        }
        assert!(whole > 5_000 && bytes > 50_000, "{whole} {bytes}");
    }

    const LINES: u64 = 100_000;

    /// RFC 4648 section 4.
    fn base64(bytes: &[u8]) -> String {
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for chunk in bytes.chunks(3) {
            let mut group = [0; 4];
            group[1..=chunk.len()].copy_from_slice(chunk);
            let bits = u32::from_be_bytes(group);
            for place in 0..4 {
                let letter = letters[(bits >> (18 - 6 * place) & 63) as usize];
                text.push(if place <= chunk.len() {
                    letter.into()
                } else {
                    '='
                });
            }
        }
        text
    }

    #[test]
    fn the_longest_line_is_one_that_a_pipe_takes_whole() {
        let name = FileName::new(&[0xF1; 1024], &RootPrefixes::new([]), &mut [0; NAME_MAX])
            .map(FileName::to_owned)
            .expect("a name");
        let report = Report {
            peer: SocketAddr::from(([0xffff_u16; 8], u16::MAX)).into(),
            asked: &[0x01; 1024],
            name: name.as_name(),
            direction: crate::wire::Direction::Read,
            outcome: Outcome::Refused(Refusal::NoAccess),
            was_answered: false,
            bytes: u64::MAX,
            pending: Duration::MAX,
            held: Duration::MAX,
            running: Duration::MAX,
            negotiated: None,
            retransmissions: u64::MAX,
            length: None,
            round_trip: Some(Duration::MAX),
        };
        let rejected_by = Some(report.peer.address);
        let event = LogEvent::Server {
            event: Event::Ended(report),
            rejected_by,
        };
        let line = record(Duration::MAX, &event, &"u".repeat(64));
        assert!((3_000..4_000).contains(&line.len()), "{}", line.len());
    }
}
