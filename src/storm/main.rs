//! `tftp-storm`: rehearses a power-on against any TFTP server, over real sockets.
//!
//! Arguments → [`options::Order`] → [`run::run`] → [`results::Results`] → table, JSON, picture, exit status. Machines that
//! write instead are in `upload`.
//! The machines are those of the simulator (`firmware`); nothing of our own server is used. Read `plan`,
//! `chains`, `seat`, `fleet`, `run`.

#![deny(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the rehearsal reads plans and writes reports"
)]

mod chains;
mod chance;
mod coverage;
mod fleet;
mod library;
mod options;
mod plan;
mod plot;
mod progress;
mod report;
mod results;
mod run;
mod seat;
mod server_view;
mod track;
mod upload;
mod values;
mod watch;

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use options::{Command, Order, UploadOrder};
use results::Results;

fn main() -> ExitCode {
    match options::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => print(&options::help(), true),
        Ok(Command::Version) => print(&options::version(), true),
        Ok(Command::Rehearse(order)) => rehearse(&order).unwrap_or_else(|message| {
            complain(&message);
            ExitCode::FAILURE
        }),
        Ok(Command::Upload(order)) => write_files(&order).unwrap_or_else(|message| {
            complain(&message);
            ExitCode::FAILURE
        }),
        Err(message) => {
            complain(&format!("{message}\nTry 'tftp-storm --help'."));
            ExitCode::from(WRONG_USAGE)
        }
    }
}

fn rehearse(order: &Order) -> Result<ExitCode, String> {
    if let Some(directory) = &order.verify {
        fs::read_dir(directory).map_err(|error| about(directory, &error))?;
        for (_, file) in &order.wanted.files {
            let path = library::path_of(directory, file);
            fs::metadata(&path).map_err(|error| about(&path, &error))?;
        }
    }
    let mut run = run::run(order).map_err(|error| error.to_string())?;
    let results = Results::of(order, &mut run);
    let status = print(&results.to_string(), results.all_booted());
    if let Some(path) = &order.json {
        write(path, &format!("{:#}\n", results.json()))?;
    }
    if let Some(path) = &order.plot {
        write(path, &plot::drawing(&results))?;
    }
    Ok(status)
}

fn write_files(order: &UploadOrder) -> Result<ExitCode, String> {
    if let Some(directory) = &order.verify {
        fs::read_dir(directory).map_err(|error| about(directory, &error))?;
    }
    let uploads = upload::run(order).map_err(|error| error.to_string())?;
    Ok(print(&uploads.to_string(), uploads.are_all_done()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| about(path, &error))
}

fn about(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// Prints to standard output; fails where that is closed or full, or where all is not well.
fn print(text: &str, is_well: bool) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) if is_well => ExitCode::SUCCESS,
        Ok(()) | Err(_) => ExitCode::FAILURE,
    }
}

/// Complains on standard error, if that takes it.
fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "tftp-storm: {message}");
}

/// The exit status for a wrong command line, as of POSIX utilities.
const WRONG_USAGE: u8 = 2;
