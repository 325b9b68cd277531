//! `tftpd`: arguments → settings → [`daemon::run`] → exit status.
//!
//! Start here, then read the map in `lib.rs`.

#![deny(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;

use ripple_tftpd::cli::{Command, Program};
use ripple_tftpd::daemon;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = Program::called(arguments.next());
    match program.parse(arguments) {
        Ok(Command::Print(text)) => print(&text),
        Ok(Command::Check(settings)) => match daemon::check(&settings) {
            Ok(report) => print(report.as_bytes()),
            Err(failure) => fail(program, &failure),
        },
        Ok(Command::Serve(settings)) => {
            daemon::log::start(settings.verbosity);
            match daemon::run(&settings) {
                Ok(()) => ExitCode::SUCCESS,
                Err(failure) => fail(program, &failure),
            }
        }
        Err(message) => {
            complain(program, &message);
            ExitCode::from(WRONG_USAGE)
        }
    }
}

fn fail(program: Program, failure: &daemon::Failure) -> ExitCode {
    complain(program, &failure.to_string());
    ExitCode::FAILURE
}

/// Prints to standard output; fails where that is closed or full.
fn print(text: &[u8]) -> ExitCode {
    match io::stdout().write_all(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Tells the operator, if anybody listens.
fn complain(program: Program, message: &str) {
    let _ = writeln!(io::stderr(), "{}: {message}", program.name());
}

/// A wrong command line, as POSIX utilities tell it.
const WRONG_USAGE: u8 = 2;
