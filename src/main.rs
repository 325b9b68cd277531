//! `tftpd`: arguments → settings → [`daemon::run`] → exit status.
//!
//! Start here, then read the map in `lib.rs`.

#![deny(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;

use ripple_tftpd::cli::{self, Command};
use ripple_tftpd::daemon;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => print(&cli::help()),
        Ok(Command::Version) => print(&cli::version()),
        Ok(Command::Check(settings)) => status(daemon::check(&settings)),
        Ok(Command::Serve(settings)) => {
            daemon::log::start(settings.verbosity);
            status(daemon::run(&settings))
        }
        Err(message) => {
            complain(&format!("{message}\nTry 'tftpd --help'."));
            ExitCode::from(WRONG_USAGE)
        }
    }
}

fn status(result: Result<(), daemon::Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Prints to standard output; fails where that is closed or full.
fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Tells the operator, if anybody listens.
fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "tftpd: {message}");
}

/// A wrong command line, as POSIX utilities tell it.
const WRONG_USAGE: u8 = 2;
