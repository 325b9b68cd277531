//! The real program on ports of its own, driven by a client written from the RFCs. Nothing of the server's own code for packets is
//! used here.
//!
//! Read `packet`, `download` and `client` for the client, `surroundings` and `victim` for what it meets; the other modules
//! are tests by subject. A test that cannot run here says `skipped: ...` on the standard error.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something unexpected happens"
)]

mod client;
mod clients;
mod download;
mod fuse;
mod packet;
mod put;
#[path = "../surroundings/mod.rs"]
mod surroundings;
mod victim;

mod access;
mod addresses;
mod admission;
mod anew;
mod background;
mod births;
mod changing_files;
mod check;
mod client_check;
mod clock;
mod cold_disk;
mod cold_files;
mod command_line;
mod descriptors;
mod doors;
mod faults;
mod file_servers;
mod firewalls;
mod forged;
mod full_queue;
mod handed;
mod held;
mod idle;
mod leases;
mod log_faults;
mod logging;
mod memory;
mod monitoring;
mod names;
mod nat;
mod netascii;
mod options;
mod ports;
mod privileges;
mod probe;
mod reload;
mod screen;
mod security;
mod seen_elsewhere;
mod segments;
mod service;
mod short_memory;
mod signals;
mod single_port;
mod small_mtu;
mod socket_errors;
mod spelled_names;
mod stalling_disk;
mod storm;
mod swapped_root;
mod transfers;
mod upload_disks;
mod upload_names;
mod uploads;

use surroundings::{machine, root, server};
