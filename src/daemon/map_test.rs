//! `--map-test`: what the rules make of a name, step by step.

use std::io::{self, BufRead};
use std::net::{IpAddr, Ipv4Addr};

use super::root::open_roots;
use super::rules;
use super::text::escaped;
use super::{Failure, trying};
use crate::config::Settings;
use crate::name::{FileName, FileNameBuf};
use crate::names::map::Traced;
use crate::names::{Look, Names, Resolved};
use crate::os::files::Unavailable;
use crate::os::resolve::{Found, Question, Resolve};

/// Returns the lines for all names that the operator asked about.
pub(super) fn report(settings: &Settings) -> Result<String, Failure> {
    let mut test = Test {
        settings,
        names: Names {
            map: rules::map(settings)?,
            ..Names::default()
        },
        text: String::new(),
    };
    for trial in &settings.map_tests {
        match &**trial {
            b"-" => {
                for line in io::stdin().lock().split(b'\n') {
                    test.run(&trying("standard input", line)?)?;
                }
            }
            trial => test.run(trial)?,
        }
    }
    Ok(test.text)
}

struct Test<'s> {
    settings: &'s Settings,
    names: Names,
    text: String,
}

impl Test<'_> {
    fn run(&mut self, trial: &[u8]) -> Result<(), Failure> {
        let question = question(trial);
        let operation = if question.is_write { "put" } else { "get" };
        let (name, client) = (escaped(&question.name), question.client);
        self.text += &format!("{operation} \"{name}\" from {client}\n");
        let mut steps = String::new();
        let mut acted = |traced: Traced<'_>| {
            steps += &format!("  line {}: \"{}\"\n", traced.line, escaped(traced.name));
        };
        let (resolved, file) = match self.settings.roots.is_empty() {
            true => {
                let blind = &mut Blind(&mut acted);
                (self.names.resolve(question.asked(), blind), None)
            }
            false => {
                let files = open_roots(self.settings)?;
                let names = rules::names(self.settings, &files, self.names.map.clone());
                let resolve = Resolve {
                    question,
                    names: names.into(),
                    places: files.places(),
                    writable: None,
                };
                let (resolved, there) = resolve.answer_now(&mut acted);
                let file = match there {
                    Some((_, Found::File(opened))) => Some(opened.map(drop)),
                    Some((_, Found::Place(_))) | None => None,
                };
                (resolved, file)
            }
        };
        self.text += &steps;
        self.text += &match resolved {
            Resolved::Name(name) => format!(
                "  file: \"{}\"{}\n",
                escaped(name.as_name().as_bytes()),
                words(file)
            ),
            Resolved::Refused(refusal) => format!("  refused: {}\n", refusal.message()),
            Resolved::Forbidden(text) => format!("  refused by the map: {}\n", escaped(&text)),
            Resolved::Unknown => "  not known\n".into(),
        };
        Ok(())
    }
}

fn words(file: Option<Result<(), Unavailable>>) -> String {
    match file {
        None => String::new(),
        Some(Ok(())) => ", which is there".into(),
        Some(Err(Unavailable::Refused(refusal))) => format!(": {}", refusal.message()),
        Some(Err(_)) => ": busy".into(),
    }
}

/// `NAME[,ADDR][,put]`: what stands behind the last commas, if it is that.
fn question(trial: &[u8]) -> Question {
    let trial = trial.strip_suffix(b"\r").unwrap_or(trial);
    let (rest, is_write) = match trial.strip_suffix(b",put") {
        Some(rest) => (rest, true),
        None => (trial, false),
    };
    let comma = rest.iter().rposition(|&byte| byte == b',');
    let address = comma.and_then(|comma| {
        let text = std::str::from_utf8(&rest[comma + 1..]).ok()?;
        Some((comma, text.parse::<IpAddr>().ok()?))
    });
    let (name, client) = match address {
        Some((comma, address)) => (&rest[..comma], address),
        None => (rest, Ipv4Addr::LOCALHOST.into()),
    };
    Question {
        name: name.into(),
        client,
        hardware: None,
        is_write,
    }
}

/// Where no directory is named nothing is there.
struct Blind<'b>(&'b mut dyn FnMut(Traced<'_>));

impl Look for Blind<'_> {
    fn opens(&mut self, _: FileName<'_>) -> Option<bool> {
        Some(false)
    }

    fn has_directory(&mut self, _: FileName<'_>) -> Option<bool> {
        Some(false)
    }

    fn spell(&mut self, name: FileName<'_>) -> Option<FileNameBuf> {
        Some(name.to_owned())
    }

    fn acted(&mut self, traced: Traced<'_>) {
        (self.0)(traced);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::map::Asked;

    #[test]
    fn a_name_may_hold_commas() {
        let cases: [(&[u8], &[u8], &str, bool); 6] = [
            (b"a", b"a", "127.0.0.1", false),
            (b"a,b", b"a,b", "127.0.0.1", false),
            (b"a,2001:db8::1", b"a", "2001:db8::1", false),
            (b"a,b,192.0.2.1,put", b"a,b", "192.0.2.1", true),
            (b",put", b"", "127.0.0.1", true),
            (b"a,put,192.0.2.1\r", b"a,put", "192.0.2.1", false),
        ];
        for (trial, name, client, is_write) in cases {
            let question = question(trial);
            let Asked {
                name: found,
                client: from,
                is_write: writes,
                ..
            } = question.asked();
            let expected = (name, client.parse().expect("an address"), is_write);
            assert_eq!((found, from, writes), expected);
        }
    }
}
