//! micro: small, exact comparisons of TFTP servers, and of this one with the limit.
//!
//! `scripts/bench micro` runs it; without the script: `cargo bench --bench micro -- help`.
//!
//! All servers run all the time, each at an address of its own, and every round asks all of them in turn, so
//! that whatever else the machine does meets all alike. What is printed are medians of ratios within a round.

mod bare;
mod compare;
mod inside;
mod load;
mod shared;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    // `cargo bench` adds `--bench`.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["bare", address, root] => match address.parse() {
            Ok(address) => bare::serve(address, Path::new(root)).map_err(|error| error.to_string()),
            Err(_) => Err(format!("{address} is no address")),
        },
        ["bare-shared", address, root] => match address.parse() {
            Ok(address) => {
                shared::serve(address, Path::new(root)).map_err(|error| error.to_string())
            }
            Err(_) => Err(format!("{address} is no address")),
        },
        ["load", ref plan @ ..] => compare::load(plan),
        ["compare", root, servers, rounds, ref names @ ..] => {
            compare::compare(Path::new(root), Path::new(servers), rounds, names)
        }
        ["instructions", root, servers] => {
            inside::instructions(Path::new(root), Path::new(servers))
        }
        ["profile", root, servers, scenario] => {
            inside::profile(Path::new(root), Path::new(servers), scenario)
        }
        _ => {
            println!("{HELP}");
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("micro: {error}");
            ExitCode::FAILURE
        }
    }
}

const HELP: &str = "\
micro compare ROOT SERVERS ROUNDS [SCENARIO...]
    ROOT      an empty directory for the files that are asked for
    SERVERS   a file with a line for each server: name, address:port, command, with tabs between;
              the first is the one that all others are compared with
    SHORT in the environment: small files, to see whether all works
micro instructions ROOT SERVERS
    instructions of user space for each block, as callgrind counts them
micro profile ROOT SERVERS SCENARIO
    where the first server spends its time (perf, strace)
micro bare ADDRESS:PORT ROOT
    the bare loop that is compared with, as a server
micro bare-shared ADDRESS:PORT ROOT
    the same with one socket for all clients";
