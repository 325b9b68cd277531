//! Storms of real size, their plans, and what is reported of them.

use std::net::UdpSocket;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::rehearsal::{Rehearsal, json, program, read, rehearse, serving, silent, verify, words};
use crate::surroundings::PATIENCE;
use crate::surroundings::root::Root;
use crate::surroundings::server::Server;

const EVERYBODY: &str = "ipxe,edk2,shim,u-boot,u-boot-lwip,grub,pxelinux,lpxelinux,busybox,barebox,\
                         raspberry-pi-4,windows-bootmgr,tftp-hpa,curl,atftp,tftpy,old-rom,\
                         old-rom-new-ports,nortel-1110,am335x";

/// What the machines saw and what the server saw are one storm.
#[test]
fn the_servers_own_view_stands_beside_that_of_the_machines() {
    let root = Root::new();
    root.write("kernel", 200_000);
    let socket = root.at("control");
    let server = Server::with(root.path(), &["-n", "4", "--control", &socket]);
    let more = [
        "--control",
        &socket,
        "--json",
        &root.at("json"),
        "--plot",
        &root.at("svg"),
    ];
    let run = rehearse(
        &server,
        "kernel --clients 60 --mix old-rom --arrival 0s",
        &more,
    );
    run.must_be_well();
    let says = run.row("it says");
    assert!(
        says.contains("of 4 slots taken and ") && says.contains("; 60 complete, 0 failed"),
        "{says}"
    );
    let view = &json(&root, "json")["server_view"];
    assert_eq!((&view["slots"], &view["complete"]), (&4.into(), &60.into()));
    let samples = view["samples"].as_array().unwrap();
    assert!(samples.len() >= 2 && samples.iter().all(|it| it["running"].as_u64() <= Some(4)));
    assert!(read(&root, "svg").contains("class=\"its-waiting\""));
    let gone = rehearse(
        &server,
        "kernel --clients 1",
        &["--control", &root.at("nothing")],
    );
    assert_eq!(gone.status, Some(1));
    assert!(gone.complaint.contains("nothing: No such file"), "{gone:?}");
}

#[test]
fn all_kinds_boot_with_every_byte() {
    let (root, server) = serving(&[("kernel", 300_000), ("initrd", 70_001)]);
    // These begin anew from the port of the last transfer.
    let mix = format!("{EVERYBODY},freebsd-loader,netbsd-loader,tftp-hpa-session");
    let run = rehearse(
        &server,
        "kernel initrd --clients 115 --arrival 200ms",
        &["--mix", &mix, "--verify", &root.at("")],
    );
    run.must_be_well();
    assert_eq!(run.row("booted"), "115");
    assert!(run.row("machines").contains("old ROM, new ports 5"));
    assert_eq!(run.row("goodput").split(" of ").next(), Some("42.6 MB"));
}

/// As a service manager does it, while one client takes its time: the new instance begins when the old one has gone. All of
/// these wait for 5 s and more for a first answer.
#[test]
fn machines_that_ask_during_a_restart_boot() {
    let root = Root::new();
    root.write("kernel", 100_000);
    let mut old = Server::start(root.path());
    let address = old.address().to_string();
    let slow = UdpSocket::bind("127.0.0.1:0").unwrap();
    slow.send_to(b"\0\x01kernel\0octet\0", &address).unwrap();
    let mut block = [0; 600];
    for number in 1..=3 {
        slow.set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let (_, from) = slow.recv_from(&mut block).unwrap();
        assert_eq!(block[3], number);
        slow.send_to(&[0, 4, 0, number], from).unwrap();
    }
    old.signal(Signal::SIGTERM);
    // The Nortel 1110 waits for 2 s.
    let patient = EVERYBODY.replace("nortel-1110,", "");
    let line = format!("kernel --clients 19 --mix {patient} --arrival 0s");
    let verified = ["--verify", &root.at("")];
    let words = [&words(&address, &line)[..], &verified].concat();
    let machines = program(&words).spawn().unwrap();
    assert!(old.wait(PATIENCE).success());
    let _new = Server::with(root.path(), &["-a", &address]);
    let run = Rehearsal::of(machines.wait_with_output().unwrap());
    run.must_be_well();
    assert_eq!(run.row("booted"), "19");
}

#[test]
fn a_thousand_machines_boot() {
    // Each program needs a socket for each machine, and raises the limit if it may.
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if setrlimit(Resource::RLIMIT_NOFILE, soft, hard.max(4_000)).is_err() {
        eprintln!("skipped: a storm of 1,000 machines needs more than {hard} descriptors");
        return;
    }
    let (root, server) = serving(&[("kernel", 20_000)]);
    let run = verify(&root, &server, "kernel --clients 1000 --arrival 0s");
    run.must_be_well();
    assert_eq!(run.row("booted"), "1000");
}

/// The server finds the file in another letter case; what arrives is compared with that.
#[test]
fn a_file_may_have_another_name_than_the_one_that_is_asked_for() {
    let root = Root::new();
    root.write("KERNEL", 20_000);
    root.write("other", 10_000);
    let server = Server::with(root.path(), &["-i"]);
    let rehearse = |file: &str| {
        let line = format!("{file} --clients 5 --arrival 0s");
        rehearse(&server, &line, &["--verify", &root.at("")])
    };
    let run = rehearse("\\kernel=KERNEL");
    run.must_be_well();
    assert_eq!(run.row("booted"), "5");
    assert_eq!(rehearse("kernel=other").row("booted"), "0");
}

#[test]
fn machines_that_share_an_address_boot() {
    let (root, server) = serving(&[("kernel", 20_000)]);
    let run = verify(
        &root,
        &server,
        "kernel --clients 50 --mix lpxelinux --arrival 0s --from 127.9.9.9",
    );
    run.must_be_well();
}

#[test]
fn loss_is_made_up_for() {
    let (root, server) = serving(&[("kernel", 100_000)]);
    let run = verify(
        &root,
        &server,
        "kernel --clients 20 --mix ipxe --arrival 0s --loss 1%",
    );
    run.must_be_well();
    assert!(run.row("lost").contains("datagrams on purpose"), "{run:?}");
}

#[test]
fn equal_seeds_give_equal_plans() {
    let (root, server) = serving(&[("kernel", 5_000)]);
    let plan = |seed: &str| -> Vec<Value> {
        let run = rehearse(
            &server,
            "kernel --clients 40 --arrival 50ms",
            &["--seed", seed, "--json", &root.at("out.json")],
        );
        run.must_be_well();
        let results = json(&root, "out.json");
        let machines = results["machines"].as_array().unwrap();
        let planned = |machine: &Value| {
            Value::from(vec![
                machine["kind"].clone(),
                machine["address"].clone(),
                machine["switched_on"].clone(),
            ])
        };
        machines.iter().map(planned).collect()
    };
    let first = plan("7");
    assert_eq!(first.len(), 40);
    assert_eq!(first, plan("7"));
    assert_ne!(first, plan("8"));
}

#[test]
fn the_server_process_is_measured() {
    let (root, server) = serving(&[("kernel", 5_000)]);
    let run = rehearse(
        &server,
        "kernel --clients 4 --arrival 0s",
        &[
            "--pid",
            &server.process().to_string(),
            "--json",
            &root.at("out.json"),
        ],
    );
    assert!(
        run.must_be_well().row("server").contains("in 1 process"),
        "{run:?}"
    );
    let process = &json(&root, "out.json")["server_process"];
    assert!(process["peak_memory_bytes"].as_u64().unwrap() > 100_000);
    assert_eq!(process["peak_processes"], 1);
}

#[test]
fn a_silent_server_fails_everybody() {
    let (_silent, address) = silent();
    let line = "kernel --clients 3 --mix tftpy=1,ipxe=2 --arrival 0s --limit 500ms";
    let run = Rehearsal::run(&words(&address, line));
    assert_eq!(run.status, Some(1), "{run:?}");
    assert_eq!(run.row("unfinished"), "3");
    assert_eq!(run.row("first data"), "-");
}

#[test]
fn a_closed_port_is_noticed_by_who_listens_for_it() {
    // The port was free a moment ago, and stays ours in the kernel's choice for a while.
    let (_, address) = silent();
    let line = "kernel --clients 3 --mix edk2 --arrival 0s";
    let run = Rehearsal::run(&words(&address, line));
    assert_eq!(run.status, Some(1));
    assert_eq!(run.row("failed"), "3: server port unreachable 3");
}

#[test]
fn an_interrupt_tells_what_there_is() {
    let (silent, address) = silent();
    let line = "kernel --clients 1 --mix pxelinux --arrival 0s";
    let child = program(&words(&address, line)).spawn().unwrap();
    // Its first request shows that it is under way.
    silent.recv_from(&mut [0; 600]).unwrap();
    let process = Pid::from_raw(child.id().try_into().unwrap());
    kill(process, Signal::SIGINT).unwrap();
    let run = Rehearsal::of(child.wait_with_output().unwrap());
    assert_eq!(run.status, Some(1), "{run:?}");
    assert!(
        run.table.lines().next().unwrap().contains("interrupted"),
        "{run:?}"
    );
    assert_eq!(run.row("unfinished"), "1");
}
