//! `tftpd`: arguments → settings → [`daemon::run`] → exit status.
//!
//! Start here, then read the map in `lib.rs`.

#![deny(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;

use ripple_tftpd::cli::{Command, Program};
use ripple_tftpd::daemon::{self, Start};
use ripple_tftpd::screen;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = Program::called(arguments.next());
    let mut start = Start::new(program.name());
    let done = match program.parse(arguments) {
        Ok(Command::Print(text)) => return print(&text),
        Ok(Command::Check(settings)) => match daemon::check(&settings) {
            Ok(report) => return print(report.as_bytes()),
            Err(failure) => Err(failure),
        },
        Ok(Command::Show(look)) => match screen::run(&look) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(message) => {
                start.complain(&message);
                return ExitCode::FAILURE;
            }
        },
        Ok(Command::Probe(probe)) => match daemon::probe(&probe) {
            Ok(line) => return print(line.as_bytes()),
            Err(failure) => Err(failure),
        },
        Ok(Command::MapTest(settings)) => match daemon::map_test(&settings) {
            Ok(report) => return print(report.as_bytes()),
            Err(failure) => Err(failure),
        },
        Ok(Command::Serve(settings)) => daemon::run(settings, &mut start),
        Err(message) => {
            start.complain(&message);
            return ExitCode::from(WRONG_USAGE);
        }
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            start.complain(&failure.to_string());
            ExitCode::FAILURE
        }
    }
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
