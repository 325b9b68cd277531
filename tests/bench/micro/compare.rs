//! Starts the servers, lets the load loose on each in turn, and makes the table.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::load::{self, Account, Plan};

/// One way to ask.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Server and clients share a processor, so that each block costs the sum of both.
    same_processor: bool,
    pub(crate) clients: usize,
    size: u64,
    blksize: u16,
    windowsize: u16,
    gro: bool,
    probe: bool,
    /// Only the servers of such a name take part.
    only: &'static str,
}

impl Scenario {
    pub(crate) const fn new(
        name: &'static str,
        clients: usize,
        size: u64,
        blksize: u16,
        windowsize: u16,
    ) -> Scenario {
        Scenario {
            name,
            same_processor: false,
            clients,
            size,
            blksize,
            windowsize,
            gro: false,
            probe: false,
            only: "",
        }
    }

    pub(crate) fn named(name: &str) -> Result<&'static Scenario, String> {
        let scenario = SCENARIOS.iter().find(|known| known.name == name);
        scenario.ok_or_else(|| format!("there is no scenario {name}"))
    }

    const fn on_one_processor(self) -> Scenario {
        Scenario {
            same_processor: true,
            ..self
        }
    }

    const fn with_gro(self) -> Scenario {
        Scenario { gro: true, ..self }
    }

    const fn with_probes(self) -> Scenario {
        Scenario {
            probe: true,
            ..self
        }
    }

    const fn only(self, name: &'static str) -> Scenario {
        Scenario { only: name, ..self }
    }

    /// Bytes of the file: fewer where `SHORT` asks for a look whether all works.
    pub(crate) fn size(&self) -> u64 {
        match std::env::var_os("SHORT") {
            Some(_) => (self.size / 16).max(self.size.min(100_000)),
            None => self.size,
        }
    }

    fn is_for(&self, server: &Running) -> bool {
        match self.only {
            "" => server.name != DEFAULTS,
            only => server.name == only,
        }
    }
}

/// No transfer has more than 65,535 blocks, which some servers do not survive.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new("1-512", 1, 12 * MB, 512, 1).on_one_processor(),
    Scenario::new("1-1428", 1, 32 * MB, 1428, 1).on_one_processor(),
    Scenario::new("1-1468", 1, 32 * MB, 1468, 1).on_one_processor(),
    Scenario::new("1-8192", 1, 128 * MB, 8192, 1).on_one_processor(),
    Scenario::new("1-1468-apart", 1, 32 * MB, 1468, 1),
    Scenario::new("1-1468-w4", 1, 48 * MB, 1468, 4),
    Scenario::new("1-1468-w16", 1, 90 * MB, 1468, 16),
    Scenario::new("1-1468-w64", 1, 90 * MB, 1468, 64),
    Scenario::new("1-1468-w64-gro", 1, 90 * MB, 1468, 64).with_gro(),
    Scenario::new("32-512", 32, MB, 512, 1),
    Scenario::new("32-1468", 32, 3 * MB, 1468, 1),
    Scenario::new("32-1468-w4", 32, 6 * MB, 1468, 4),
    Scenario::new("32-1468-w16", 32, 12 * MB, 1468, 16),
    Scenario::new("1000-probes", 1000, 100_000, 1432, 1).with_probes(),
    Scenario::new("5000-defaults", 5000, 100_000, 1432, 1).only(DEFAULTS),
    Scenario::new("1000-1432", 1000, MB, 1432, 1),
];

/// The load, as a process of its own; prints its account.
pub(crate) fn load(words: &[&str]) -> Result<(), String> {
    let [server, file, scenario, size, clients] = words else {
        return Err("load SERVER FILE SCENARIO SIZE CLIENTS".into());
    };
    let scenario = Scenario::named(scenario)?;
    let plan = Plan {
        server: server.parse().map_err(|_| "no address")?,
        file: (*file).into(),
        size: size.parse().map_err(|_| "SIZE is a number")?,
        clients: clients.parse().map_err(|_| "CLIENTS is a number")?,
        blksize: scenario.blksize,
        windowsize: scenario.windowsize,
        gro: scenario.gro,
        probe: scenario.probe,
    };
    let account = load::run(&plan).map_err(|error| error.to_string())?;
    let Account {
        seconds,
        complete,
        blocks,
        repeats,
        windowsize,
    } = account;
    println!("{seconds} {complete} {blocks} {repeats} {windowsize}");
    Ok(())
}

/// A server that runs.
pub(crate) struct Running {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    /// A process for each transfer.
    pub(crate) forks: bool,
    pub(crate) child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Compares all servers in all scenarios, or in those named.
pub(crate) fn compare(
    root: &Path,
    servers: &Path,
    rounds: &str,
    names: &[&str],
) -> Result<(), String> {
    let rounds: usize = rounds.parse().map_err(|_| "ROUNDS is a number")?;
    let named: Result<Vec<&Scenario>, String> =
        names.iter().map(|name| Scenario::named(name)).collect();
    let meant = match &named?[..] {
        [] => SCENARIOS.iter().collect(),
        named => named.to_vec(),
    };
    for scenario in &meant {
        for size in [scenario.size(), counted_size(scenario)] {
            make_file(root, size).map_err(|error| error.to_string())?;
        }
    }
    let running = start_all(servers)?;
    println!("| scenario | server | MB/s | of the first | CPU s per GB | calls per block |");
    println!("|---|---|--:|--:|--:|--:|");
    for scenario in meant {
        compare_in(scenario, &running, rounds)?;
    }
    Ok(())
}

fn compare_in(scenario: &Scenario, running: &[Running], rounds: usize) -> Result<(), String> {
    let mut seconds: Vec<Vec<f64>> = vec![Vec::new(); running.len()];
    let mut used: Vec<f64> = vec![0.0; running.len()];
    let mut remarks: Vec<String> = vec![String::new(); running.len()];
    // The first round warms caches up and finds out who cannot do it at all.
    for round in 0..=rounds {
        for (place, server) in running.iter().enumerate() {
            if remarks[place].starts_with('-') || !scenario.is_for(server) {
                continue;
            }
            let before = used_by(server);
            match ask(scenario, scenario.size(), scenario.clients, server.address) {
                Ok(account)
                    if account.windowsize == 0
                        || (account.windowsize == 1 && scenario.windowsize > 1) =>
                {
                    remarks[place] = "- (not granted)".into();
                }
                Ok(account) if account.complete < scenario.clients => {
                    remarks[place] =
                        format!("- ({} of {} complete)", account.complete, scenario.clients);
                }
                Ok(account) => {
                    if account.repeats > 0 {
                        remarks[place] += &format!(" ({} repeats)", account.repeats);
                    }
                    if account.windowsize < scenario.windowsize {
                        remarks[place] += &format!(" (window {})", account.windowsize);
                    }
                    if round > 0 {
                        sleep(Duration::from_millis(20));
                        seconds[place].push(account.seconds);
                        used[place] += used_by(server) - before;
                    }
                }
                Err(error) => remarks[place] = format!("- ({error})"),
            }
        }
    }
    let first = running.iter().position(|server| scenario.is_for(server));
    let first = first.ok_or("nobody takes part")?;
    for (place, server) in running.iter().enumerate() {
        if !scenario.is_for(server) {
            continue;
        }
        let remark = &remarks[place];
        if remark.starts_with('-') {
            println!("| {} | {} | {remark} | | | |", scenario.name, server.name);
            continue;
        }
        let bytes = scenario.size() as f64 * scenario.clients as f64;
        let ratios = seconds[first].iter().zip(&seconds[place]);
        let ratio = median(ratios.map(|(first, own)| first / own).collect());
        println!(
            "| {} | {} | {:.0}{remark} | {:.2} | {:.2} | {} |",
            scenario.name,
            server.name,
            bytes / 1e6 / median(seconds[place].clone()),
            ratio,
            used[place] / (bytes * rounds as f64 / 1e9),
            calls_per_block(scenario, server).unwrap_or_else(|why| why),
        );
    }
    io::stdout().flush().map_err(|error| error.to_string())
}

/// One run of the load against one server.
pub(crate) fn ask(
    scenario: &Scenario,
    size: u64,
    clients: usize,
    server: SocketAddr,
) -> Result<Account, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let processor = if scenario.same_processor {
        SERVERS_ON
    } else {
        LOAD_ON
    };
    let output = Command::new("taskset")
        .args(["--cpu-list", processor])
        .arg(own)
        .args([
            "load",
            &server.to_string(),
            &file_name(size),
            scenario.name,
            &size.to_string(),
            &clients.to_string(),
        ])
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("taskset: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let parse = || {
        let mut words = text.split_whitespace();
        Some(Account {
            seconds: words.next()?.parse().ok()?,
            complete: words.next()?.parse().ok()?,
            blocks: words.next()?.parse().ok()?,
            repeats: words.next()?.parse().ok()?,
            windowsize: words.next()?.parse().ok()?,
        })
    };
    parse().ok_or_else(|| "the load failed".into())
}

/// One more run, which is not timed, with every system call of the server counted.
fn calls_per_block(scenario: &Scenario, server: &Running) -> Result<String, String> {
    let output = std::env::temp_dir().join(format!("micro-{}.strace", std::process::id()));
    let mut strace = Command::new("strace")
        .args(["-f", "-c", "-o"])
        .arg(&output)
        .args(["-p", &server.child.id().to_string()])
        .stderr(Stdio::null())
        .spawn()
        .map_err(|_| "no strace".to_owned())?;
    sleep(Duration::from_millis(200));
    // To be stopped at each call takes time: fewer blocks tell as much.
    let account = ask(
        scenario,
        counted_size(scenario),
        scenario.clients.min(COUNTED_CLIENTS),
        server.address,
    );
    let pid = nix::unistd::Pid::from_raw(i32::try_from(strace.id()).map_err(|_| "pid")?);
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT);
    let _ = strace.wait();
    let account = account?;
    let table = fs::read_to_string(&output).map_err(|_| "no table".to_owned())?;
    let _ = fs::remove_file(&output);
    let total = table.lines().last().unwrap_or_default();
    let calls = total.split_whitespace().nth(3);
    let calls: f64 = calls
        .and_then(|calls| calls.parse().ok())
        .ok_or("no total")?;
    if std::env::var_os("MICRO_CALLS").is_some() {
        eprintln!("{} {}\n{table}", scenario.name, server.name);
    }
    Ok(format!("{:.2}", calls / account.blocks.max(1) as f64))
}

/// Bytes of the file while calls are counted.
pub(crate) fn counted_size(scenario: &Scenario) -> u64 {
    let clients = scenario.clients.min(COUNTED_CLIENTS) as u64;
    scenario.size().min(COUNTED_IN_ALL / clients)
}

fn start_all(servers: &Path) -> Result<Vec<Running>, String> {
    let lines = read_lines(servers)?;
    lines
        .iter()
        .map(|line| start(line, &[], Stdio::null()))
        .collect()
}

pub(crate) fn read_lines(servers: &Path) -> Result<Vec<String>, String> {
    let text =
        fs::read_to_string(servers).map_err(|error| format!("{}: {error}", servers.display()))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Starts the server of a line: name, address, command. What it runs `under` may come first.
pub(crate) fn start(line: &str, under: &[&str], errors: Stdio) -> Result<Running, String> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [name, address, command] = fields[..] else {
        return Err(format!("not a server: {line}"));
    };
    let child = Command::new("taskset")
        .args(["--cpu-list", SERVERS_ON])
        .args(under)
        .args(command.split(' '))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors)
        .spawn()
        .map_err(|error| format!("{name}: {error}"))?;
    let server = Running {
        name: name.into(),
        address: address
            .parse()
            .map_err(|_| format!("{address} is no address"))?,
        forks: command.contains("in.tftpd"),
        child,
    };
    wait_until_it_listens(&server)?;
    Ok(server)
}

fn wait_until_it_listens(server: &Running) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let _ = socket.set_read_timeout(Some(Duration::from_millis(100)));
    while Instant::now() < deadline {
        let _ = socket.send_to(b"\0\x01no-such-file\0octet\0", server.address);
        // An ERROR, or nothing where it does not answer such requests: its port is asked as well.
        if socket.recv(&mut [0; 600]).is_ok() || std::net::UdpSocket::bind(server.address).is_err()
        {
            sleep(Duration::from_millis(200));
            return Ok(());
        }
    }
    Err(format!("{} does not answer", server.name))
}

/// Seconds of processor time that a server has used up: its process with all threads or, where it forks for
/// each transfer and the system forgets what its children used, the processor that only servers have.
fn used_by(server: &Running) -> f64 {
    let (path, line, skipped, taken) = if server.forks {
        // user, nice, system (proc_stat(5)).
        ("/proc/stat".to_owned(), "cpu0 ", 1, 3)
    } else {
        // Fields 14 and 15, utime and stime (proc_pid_stat(5)).
        (format!("/proc/{}/stat", server.child.id()), "", 13, 2)
    };
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|text| text.starts_with(line));
    let ticks = line
        .unwrap_or_default()
        .split_whitespace()
        .skip(skipped)
        .take(taken);
    ticks
        .filter_map(|field| field.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}

pub(crate) fn make_file(root: &Path, size: u64) -> io::Result<()> {
    let path = root.join(file_name(size));
    let size = usize::try_from(size).expect("it fits into memory");
    fs::write(path, load::pattern(size))
}

fn file_name(size: u64) -> String {
    format!("bytes-{size}")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

/// The server as it is without options; the first of all may have some.
pub(crate) const DEFAULTS: &str = "with defaults";
const COUNTED_IN_ALL: u64 = 4 * MB;
const COUNTED_CLIENTS: usize = 40;

pub(crate) const MB: u64 = 1_000_000;
const SERVERS_ON: &str = "0";
const LOAD_ON: &str = "1";
