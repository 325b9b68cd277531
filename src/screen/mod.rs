//! `tftpd --status`: a running server on a terminal, read from its control socket. It shares nothing with the server but
//! that socket, and can do nothing to it.
//!
//! Read `value` (what the server says), then `draw` (lines for any size, pure), then the loop here.

mod draw;
mod value;

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use crate::config::{Form, Look};
use crate::os::clock::Clock;
use crate::os::local;
use crate::os::terminal::{Input, Terminal};
use draw::{Screen, Size, plain};
use value::Value;

/// Shows a running server, until the terminal or the user has enough.
///
/// # Errors
/// The server cannot be reached, or what it says is nothing that a server says.
pub fn run(look: &Look) -> Result<(), String> {
    let path = &look.path;
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    let text = local::ask(path, "/status").map_err(failed)?;
    let terminal = match look.form {
        Form::Json => return print(&text),
        Form::Once => None,
        Form::Live => Terminal::open().map_err(failed)?,
    };
    let first = Value::read(&text).ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))?;
    match terminal {
        Some(terminal) => live(path, &terminal, first).map_err(|error| error.to_string()),
        None => print(&plain(&first)),
    }
}

/// Prints to standard output; that nobody reads it is no fault.
fn print(text: &str) -> Result<(), String> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("standard output: {error}"))
        }
        _ => Ok(()),
    }
}

fn live(path: &Path, terminal: &Terminal, first: Value) -> io::Result<()> {
    let clock = Clock::start();
    let mut screen = Screen::new(first);
    let mut next = clock.now() + EVERY;
    loop {
        let (columns, lines) = terminal.size();
        let text = screen.draw(Size { columns, lines });
        terminal.write(text.as_bytes())?;
        match terminal.wait(next.since(clock.now()))? {
            Input::Time => {
                next = clock.now() + EVERY;
                let answer = local::ask(path, "/status").ok();
                screen.update(answer.and_then(|text| Value::read(&text)));
            }
            Input::Resized => {}
            Input::Ended => return Ok(()),
            Input::Keys(keys) => match &keys[..] {
                b"q" | b"Q" | b"\x1b" => return Ok(()),
                b"j" | b"\x1b[B" | b"\x1bOB" => screen.scroll(1),
                b"k" | b"\x1b[A" | b"\x1bOA" => screen.scroll(-1),
                b" " | b"\x1b[6~" => screen.scroll(10),
                b"b" | b"\x1b[5~" => screen.scroll(-10),
                b"g" | b"\x1b[H" => screen.scroll(isize::MIN),
                _ => {}
            },
        }
    }
}

/// A person reads it.
const EVERY: Duration = Duration::from_secs(1);
