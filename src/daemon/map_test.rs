//! `--map-test`: what the rules make of a name, step by step.

use std::io::{self, BufRead};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::root::open_roots;
use super::rules::Rereading;
use super::text::escaped;
use super::{Failure, trying};
use crate::config::Settings;
use crate::names::map::{Acted, Question};
use crate::names::{Names, Resolved};
use crate::os::files::{Files, Unavailable};
use crate::os::resolve::{Found, Resolve};

/// Shows what the map makes of the names that `settings` hold, in lines for the operator.
///
/// # Errors
/// Where the map or a directory cannot be read.
pub fn map_test(settings: &Settings) -> Result<String, Failure> {
    let files = open_roots(settings)?;
    let (rereading, _) = Rereading::begin(settings)?;
    let names = Arc::new(rereading.names(settings, &files));
    let mut text = String::new();
    for trial in &settings.map_tests {
        match &**trial {
            b"-" => {
                for line in io::stdin().lock().split(b'\n') {
                    let line = trying("standard input", line)?;
                    text += &tried(&files, &names, &line);
                }
            }
            trial => text += &tried(&files, &names, trial),
        }
    }
    Ok(text)
}

fn tried(files: &Files, names: &Arc<Names>, trial: &[u8]) -> String {
    let question = question(trial);
    let operation = if question.is_write { "put" } else { "get" };
    let (name, client) = (escaped(&question.name), question.client);
    let mut text = format!("{operation} \"{name}\" from {client}\n");
    let resolve = Resolve {
        question,
        names: Arc::clone(names),
        places: files.places(),
        writable: None,
    };
    let (resolved, there) = resolve.answer_now(&mut |acted: Acted<'_>| {
        text += &format!("  line {}: \"{}\"\n", acted.line, escaped(acted.name));
    });
    let there = match there {
        // Where no directory is named nothing is there.
        Some((_, Found::File(opened))) if !files.roots().is_empty() => words(opened.map(drop)),
        _ => String::new(),
    };
    text + &match resolved {
        Resolved::Name(name) => {
            let name = name.as_name();
            format!("  file: \"{}\"{there}\n", escaped(name.as_bytes()))
        }
        Resolved::Refused(refusal) => format!("  refused: {}\n", refusal.message()),
        Resolved::Forbidden(text) => format!("  refused by the map: {}\n", escaped(&text)),
        Resolved::Unknown => "  not known\n".into(),
    }
}

fn words(file: Result<(), Unavailable>) -> String {
    match file {
        Ok(()) => ", which is there".into(),
        Err(Unavailable::Refused(refusal)) => format!(": {}", refusal.message()),
        Err(_) => ": busy".into(),
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
