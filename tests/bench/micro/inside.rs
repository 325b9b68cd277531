//! Where the time goes within a server: instructions for each block, and a profile.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::compare::{
    DEFAULTS, MB, Running, Scenario, ask, counted_size, make_file, read_lines, start,
};

/// Returns how many instructions of user space a block takes in each server, as callgrind counts them: what a
/// long transfer takes more than a short one. The kernel's are not among them.
pub(crate) fn instructions(root: &Path, servers: &Path) -> Result<(), String> {
    let scenario = Scenario::new("1-1468", 1, 4 * MB, 1468, 1);
    for size in [MB, 4 * MB] {
        make_file(root, size).map_err(|error| error.to_string())?;
    }
    println!(
        "| server | instructions of user space per block ({}) |",
        scenario.name
    );
    println!("|---|--:|");
    for line in read_lines(servers)? {
        let name = line.split('\t').next().unwrap_or_default();
        if name == DEFAULTS {
            continue;
        }
        // What callgrind does, its filter of system calls forbids.
        let line = match name {
            "this server" => format!("{line} --no-sandbox"),
            _ => line.clone(),
        };
        let counted = |size| instructions_for(&scenario, size, &line);
        let each = counted(MB).and_then(|(few, first)| {
            let (many, second) = counted(4 * MB)?;
            Ok((many - few) / (second - first) as f64)
        });
        let each = each.map_or_else(|why| format!("- ({why})"), |each| format!("{each:.0}"));
        println!("| {name} | {each} |");
    }
    Ok(())
}

/// Instructions of a server from its start to its end, and the blocks that it sent.
fn instructions_for(scenario: &Scenario, size: u64, line: &str) -> Result<(f64, u64), String> {
    let path = std::env::temp_dir().join(format!("micro-{}.callgrind", std::process::id()));
    let log = fs::File::create(&path).map_err(|error| error.to_string())?;
    let mut server = start(line, CALLGRIND, log.into())?;
    if server.forks {
        return Err("a process for each transfer".into());
    }
    let account = ask(scenario, size, 1, server.address)?;
    end(&mut server.child, Signal::SIGTERM)?;
    let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
    let _ = fs::remove_file(&path);
    let collected = text
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    let collected = collected.and_then(|(_, number)| number.trim().parse().ok());
    Ok((
        collected.ok_or("callgrind counted nothing")?,
        account.blocks,
    ))
}

/// Returns where the first server spends its time in a scenario: samples of perf, with the kernel's part of it,
/// and the time that strace sees in each system call, which is longer than without it.
pub(crate) fn profile(root: &Path, servers: &Path, name: &str) -> Result<(), String> {
    let scenario = Scenario::named(name)?;
    for size in [scenario.size(), counted_size(scenario)] {
        make_file(root, size).map_err(|error| error.to_string())?;
    }
    let lines = read_lines(servers)?;
    let server = start(lines.first().ok_or("no server")?, &[], Stdio::null())?;
    let process = server.child.id().to_string();
    let samples = std::env::temp_dir().join(format!("micro-{}.perf", std::process::id()));
    let samples = samples.to_string_lossy().into_owned();
    let perf = [
        "perf",
        "record",
        "--quiet",
        "--event",
        "cpu-clock",
        "--freq",
        "4999",
    ];
    let perf = [&perf[..], &["--output", &samples, "--pid", &process]].concat();
    watch(&perf, scenario, scenario.size(), &server)?;
    let report = [
        "report",
        "--stdio",
        "--quiet",
        "--input",
        &samples,
        "--sort",
        "dso,symbol",
    ];
    let _ = Command::new("perf")
        .args(report)
        .args(["--percent-limit", "0.5"])
        .status();
    let _ = fs::remove_file(&samples);
    let strace = ["strace", "-f", "-c", "-w", "-p", &process];
    watch(&strace, scenario, counted_size(scenario), &server)
}

/// Lets a program look on while clients ask.
fn watch(program: &[&str], scenario: &Scenario, size: u64, server: &Running) -> Result<(), String> {
    ask(scenario, size, scenario.clients, server.address)?;
    let watcher = Command::new(program[0]).args(&program[1..]).spawn();
    let Ok(mut watcher) = watcher else {
        println!("there is no {}", program[0]);
        return Ok(());
    };
    sleep(Duration::from_millis(300));
    let account = ask(scenario, size, scenario.clients, server.address)?;
    end(&mut watcher, Signal::SIGINT)?;
    println!(
        "{}: {} blocks in {:.2} s",
        scenario.name, account.blocks, account.seconds
    );
    Ok(())
}

/// Ends a program in the way it likes, and waits until it has written all.
fn end(child: &mut Child, signal: Signal) -> Result<(), String> {
    let process = i32::try_from(child.id()).map_err(|_| "pid")?;
    kill(Pid::from_raw(process), signal).map_err(|error| error.to_string())?;
    child.wait().map_err(|error| error.to_string())?;
    Ok(())
}

const CALLGRIND: &[&str] = &[
    "valgrind",
    "--tool=callgrind",
    "--callgrind-out-file=/dev/null",
    "--vgdb=no",
];
