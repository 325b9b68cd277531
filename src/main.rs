//! `tftpd`: arguments → settings → [`daemon::run`] → exit status.
//!
//! Start here, then read the map in `lib.rs`.

#![deny(unsafe_code)]

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use ripple_tftpd::cli::{Command, Program};
use ripple_tftpd::daemon::{self, Start};
use ripple_tftpd::screen;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = Program::called(arguments.next());
    let mut start = Start::new(program.name());
    let answer = match program.parse(arguments) {
        Ok(Command::Print(text)) => Ok(text),
        Ok(Command::Check(settings)) => text(daemon::check(&settings)),
        Ok(Command::MapTest(settings)) => text(daemon::map_test(&settings)),
        Ok(Command::Probe(probe)) => text(daemon::probe(&probe)),
        Ok(Command::Show(look)) => text(screen::run(&look).map(|()| String::new())),
        Ok(Command::Serve(settings)) => match daemon::run(settings, &mut start) {
            Ok(status) => return ExitCode::from(status),
            Err(failure) => Err(failure.to_string()),
        },
        Err(message) => {
            start.complain(&message);
            return ExitCode::from(WRONG_USAGE);
        }
    };
    match answer {
        Ok(text) => print(&text),
        Err(message) => {
            start.complain(&message);
            ExitCode::FAILURE
        }
    }
}

fn text(answer: Result<String, impl Display>) -> Result<Vec<u8>, String> {
    let answer = answer.map(String::into_bytes);
    answer.map_err(|failure| failure.to_string())
}

/// Prints to standard output; fails where that is closed or full.
fn print(text: &[u8]) -> ExitCode {
    match io::stdout().write_all(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// A wrong command line, as POSIX utilities report it.
const WRONG_USAGE: u8 = 2;
