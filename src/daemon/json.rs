//! Fields as JSON: what programs read. Plain ASCII, so that no terminal, pipe or syslogd on the way makes anything else
//! of it.

use std::fmt::{self, Display, Formatter, Write};
use std::str::from_utf8;
use std::time::Duration;

use super::field::{Field, Value, Word, differ};

/// An object of these fields.
pub(super) fn object(fields: &[Field<'_>]) -> String {
    with("{}".into(), fields)
}

/// An object with more fields.
pub(super) fn with(mut object: String, fields: &[Field<'_>]) -> String {
    object.pop();
    let recorded = fields.iter().filter(|(key, _)| !key.starts_with('_'));
    for (key, value) in recorded {
        write(&mut object, key, value);
    }
    object + "}"
}

/// A list of objects.
pub(super) fn list(objects: impl Iterator<Item = String>) -> String {
    let objects: Vec<String> = objects.collect();
    format!("[{}]", objects.join(","))
}

fn write(to: &mut String, key: &str, value: &Value<'_>) {
    match value {
        Value::Absent => {}
        Value::Number(number) => plain(to, key, number),
        Value::Truth(truth) => plain(to, key, truth),
        Value::Seconds(span) => plain(to, key, Seconds(*span)),
        Value::Json(json) => plain(to, key, json),
        Value::Text(it) => text(to, key, &it.to_string(), TEXT_MAX),
        Value::Word(Word(word, _)) => text(to, key, word, TEXT_MAX),
        Value::Client(peer) => {
            let address = match peer.scope {
                0 => peer.address.to_string(),
                scope => format!("{}%{scope}", peer.address),
            };
            text(to, "client", &address, TEXT_MAX);
            plain(to, "port", peer.port);
        }
        Value::File { asked, name, .. } if differ(asked, name) => {
            bytes(to, "asked", asked, NAME_SHOWN / 2);
            bytes(to, "name", name, NAME_SHOWN / 2);
        }
        Value::File { name, .. } => bytes(to, "name", name, NAME_SHOWN),
    }
}

// Nothing stops a string from growing.

fn begin<'a>(to: &'a mut String, key: &str) -> &'a mut String {
    let comma = if to.ends_with('{') { "" } else { "," };
    let _ = write!(to, "{comma}\"{key}\":");
    to
}

fn plain(to: &mut String, key: &str, value: impl Display) {
    let _ = write!(begin(to, key), "{value}");
}

/// What came from the network, which is bytes: as text, and where it is not UTF-8 in hexadecimal as well. If it is
/// longer than `most`, it is cut, and its length says so.
fn bytes(to: &mut String, key: &str, bytes: &[u8], most: usize) {
    let mut shown = &bytes[..bytes.len().min(most)];
    let is_text = from_utf8(bytes).is_ok();
    // Text is cut between two characters.
    if let Err(cut) = from_utf8(shown)
        && is_text
    {
        shown = &shown[..cut.valid_up_to()];
    }
    text(to, key, &String::from_utf8_lossy(shown), usize::MAX);
    if !is_text {
        let hex: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
        plain(to, &format!("{key}_hex"), format_args!("\"{hex}\""));
    }
    if shown.len() < bytes.len() {
        plain(to, &format!("{key}_length"), bytes.len());
    }
}

/// Text as a JSON string (RFC 8259 section 7), cut where that has about `most` characters.
fn text(to: &mut String, key: &str, text: &str, most: usize) {
    begin(to, key).push('"');
    let end = to.len().saturating_add(most);
    for character in text.chars() {
        if to.len() >= end {
            break;
        }
        match character {
            '"' | '\\' => to.extend(['\\', character]),
            ' '..='~' => to.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let _ = write!(to, "\\u{unit:04x}");
                }
            }
        }
    }
    to.push('"');
}

/// Writes a span as a number of seconds.
pub(super) struct Seconds(pub Duration);

impl Display for Seconds {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0.as_secs(), self.0.subsec_micros())
    }
}

/// Bytes of a name that are shown: at six characters each, and two in hexadecimal, a line is still one that a pipe takes
/// whole.
const NAME_SHOWN: usize = 384;

/// Characters of another text, as it is written: a line may have two such.
const TEXT_MAX: usize = 1_700;

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::SocketAddr;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::daemon::events::LogEvent;
    use crate::daemon::field;
    use crate::name::{FileName, NAME_MAX, RootPrefixes};
    use crate::server::{Event, Report};
    use crate::transfer::Outcome;
    use crate::wire::{Direction, Refusal};

    fn name(bytes: &[u8]) -> String {
        object(&[("name", field::name(bytes))])
    }

    #[test]
    fn names_are_ascii_and_reversible() {
        assert_eq!(name(b"a/b"), r#"{"name":"a/b"}"#);
        assert_eq!(
            name("\"\\\n\u{1b}\u{7f}\u{e9}\u{1f600}".as_bytes()),
            r#"{"name":"\"\\\u000a\u001b\u007f\u00e9\ud83d\ude00"}"#
        );
        assert_eq!(
            name(b"a\xE9\xFF"),
            r#"{"name":"a\ufffd\ufffd","name_hex":"61e9ff"}"#
        );
    }

    #[test]
    fn a_long_name_is_cut_between_two_characters() {
        let long = format!("a{}", "\u{e9}".repeat(300));
        let cut = name(long.as_bytes());
        assert_eq!(cut.matches("\\u00e9").count(), 191);
        assert!(cut.ends_with(r#","name_length":601}"#), "{cut}");
        assert!(name(&[0xFF; 1024]).len() < 3_200);
    }

    #[test]
    fn numbers_are_numbers_and_lists_have_commas_between() {
        let items = [1, 2].map(|number| object(&[("x", Value::Number(number))]));
        let text = object(&[
            ("n", Value::Number(7)),
            ("s", Value::Seconds(Duration::from_millis(1_050))),
            ("t", Value::Truth(true)),
            ("a", Value::Absent),
            ("_w", Value::Number(8)),
            ("l", Value::Json(list(items.into_iter()))),
        ]);
        assert_eq!(
            text,
            r#"{"n":7,"s":1.050000,"t":true,"l":[{"x":1},{"x":2}]}"#
        );
    }

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
                    looked_up: None,
                    refusal,
                    is_answered: true,
                };
                let event = LogEvent::Server {
                    event,
                    rejected_by: None,
                };
                let line = event.json(Duration::from_millis(number), "");
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
            if from_utf8(&name).is_err() {
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
            direction: Direction::Read,
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
        let line = event.json(Duration::MAX, &"u".repeat(64));
        assert!((3_000..4_000).contains(&line.len()), "{}", line.len());
    }
}
