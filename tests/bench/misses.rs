//! What a miss costs: processor time of a server that is asked for files that are not there, a thousand times a second,
//! as WinPE does, in a tree with a directory of 10,000 files. Beside it, the limit: a loop that receives a datagram and
//! sends an ERROR.
//!
//! `cargo bench --bench misses -- [TFTPD...]`: these programs (the one that was built, if none is named) with `-i` and
//! without, for names that differ each time and for one name, in turn; the medians are printed.

use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if words.first().is_some_and(|word| word == BARE) {
        return bare();
    }
    let mut programs: Vec<OsString> = words;
    programs.retain(|word| word != "--bench");
    if programs.is_empty() {
        programs.push(env!("CARGO_BIN_EXE_tftpd").into());
    }
    let root = std::env::temp_dir().join(format!("tftpd-misses-{}", std::process::id()));
    lay_out(&root)?;
    let measured = measure(&root, &programs);
    fs::remove_dir_all(&root)?;
    measured
}

/// A directory of many files, three levels deep, older than the server's patience with what has just changed.
fn lay_out(root: &Path) -> Result<()> {
    let fonts = root.join("Boot/Fonts");
    fs::create_dir_all(&fonts)?;
    for number in 0..FILES {
        fs::write(fonts.join(format!("File-{number:05}.TTF")), "")?;
    }
    sleep(Duration::from_secs(4));
    Ok(())
}

fn measure(root: &Path, programs: &[OsString]) -> Result<()> {
    let mut ways: Vec<(String, Command)> = Vec::new();
    let mut bare = Command::new(std::env::current_exe()?);
    bare.arg(BARE);
    ways.push(("receive and send alone".into(), bare));
    for program in programs {
        for options in [&[][..], &["-i"]] {
            let mut command = Command::new(program);
            command.arg("-r").arg(root).args(["-a", "127.0.0.1:0"]);
            command.args(options);
            let name = format!("{} {}", program.display(), options.join(" "));
            ways.push((name, command));
        }
    }
    let mut taken = vec![[const { Vec::new() }; KINDS.len()]; ways.len()];
    for round in 0..ROUNDS {
        for ((_, command), taken) in ways.iter_mut().zip(&mut taken) {
            let (mut server, address) = start(command)?;
            for (kind, (_, name)) in KINDS.iter().enumerate() {
                let micros = ask(&server, address, &|number| name(round, number));
                taken[kind].push(micros.inspect_err(|_| drop(server.kill()))?);
            }
            server.kill()?;
            server.wait()?;
        }
    }
    println!("us of CPU per miss, {PER_ROUND} a round, one a millisecond; medians of {ROUNDS}");
    for ((name, _), taken) in ways.iter().zip(taken) {
        for ((kind, _), mut micros) in KINDS.iter().zip(taken) {
            micros.sort_by(f64::total_cmp);
            let (least, most) = (micros[0], micros[ROUNDS - 1]);
            let median = micros[ROUNDS / 2];
            println!("{median:6.1} ({least:.1} to {most:.1})  {name}: {kind}");
        }
    }
    Ok(())
}

/// Starts a server and finds out where it listens.
fn start(command: &mut Command) -> Result<(Child, SocketAddr)> {
    let mut server = command.stderr(Stdio::piped()).spawn()?;
    let log = server.stderr.take().ok_or("no log")?;
    let mut lines = BufReader::new(log).lines();
    let address = loop {
        let line = lines.next().ok_or("the server did not start")??;
        if let Some((_, address)) = line.split_once("listening on ") {
            break address.parse()?;
        }
    };
    // The log is read to its end.
    thread::spawn(move || lines.for_each(drop));
    Ok((server, address))
}

/// Microseconds of processor time that the server spends on a miss.
fn ask(server: &Child, address: SocketAddr, name: &dyn Fn(usize) -> String) -> Result<f64> {
    let client = UdpSocket::bind("127.0.0.1:0")?;
    client.connect(address)?;
    client.set_read_timeout(Some(Duration::from_secs(5)))?;
    let miss = |number| -> Result<()> {
        client.send(format!("\0\x01{}\0octet\0", name(number)).as_bytes())?;
        let mut answer = [0; 600];
        client.recv(&mut answer)?;
        match answer {
            [0, 5, ..] => Ok(()),
            _ => Err("an ERROR expected".into()),
        }
    };
    for number in 0..WARM_UP {
        miss(number)?;
    }
    let before = processor_time(server)?;
    let began = Instant::now();
    for number in 0..PER_ROUND {
        miss(WARM_UP + number)?;
        let next = began + EVERY * u32::try_from(number)?;
        sleep(next.saturating_duration_since(Instant::now()));
    }
    let taken = processor_time(server)? - before;
    Ok(taken as f64 / 1000.0 / PER_ROUND as f64)
}

/// Nanoseconds that all threads of a process have run.
fn processor_time(server: &Child) -> Result<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{}/task", server.id()))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let time = text.split(' ').next().unwrap_or_default();
        sum += time.parse::<u64>()?;
    }
    Ok(sum)
}

/// Answers every datagram with an ERROR.
fn bare() -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    eprintln!("INFO listening on {}", socket.local_addr()?);
    let mut buffer = [0; 2048];
    loop {
        let (_, from) = socket.recv_from(&mut buffer)?;
        socket.send_to(b"\0\x05\0\x01no such file\0", from)?;
    }
}

/// What is asked for, by round and number.
type Kind = (&'static str, fn(usize, usize) -> String);

const KINDS: [Kind; 3] = [
    ("another name each time", |round, number| {
        format!("Boot/Fonts/missing-{round}-{number}.ttf")
    }),
    (
        "another name each time, in another case",
        |round, number| format!("\\boot\\fonts\\other-{round}-{number}.ttf"),
    ),
    ("one name", |_, _| "\\Boot\\Fonts\\wgl4_boot.ttf".into()),
];

const BARE: &str = "--bare";
const FILES: usize = 10_000;
const ROUNDS: usize = 5;
const WARM_UP: usize = 50;
const PER_ROUND: usize = 1000;
const EVERY: Duration = Duration::from_millis(1);
