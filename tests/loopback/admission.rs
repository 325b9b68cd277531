//! Who is let in, over real sockets with one slot. Those who wait get nothing at all; a client that asks for nonsense is told at once.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::client::Client;
use crate::clients::own_address;
use crate::download::{Download, Wish};
use crate::packet::Packet;
use crate::root::{Root, assert_same};
use crate::server::{Server, serving};

/// A client with an address that no other client has: those behind one address are distinguished by rules of their own.
fn machine(server: SocketAddr) -> Client {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    Client::at(
        *own_address(COUNT.fetch_add(1, Ordering::Relaxed)).ip(),
        server,
    )
}

/// A client that has the slot and has not acknowledged its first block.
fn running(server: SocketAddr) -> Client {
    let mut client = machine(server);
    client.request(&Wish::octet("file"));
    client.expect_data(1);
    client
}

fn waiting(server: SocketAddr) -> Client {
    let client = machine(server);
    client.request(&Wish::octet("file"));
    client
}

/// A miss is answered even when all is full, and by then the server has dealt with everything before it.
fn after_a_miss(server: SocketAddr) {
    let mut client = Client::new(server).asking(&Wish::octet("missing"));
    client.expect_error(1);
}

fn finish(client: &mut Client, got: Vec<u8>, bytes: &[u8]) {
    let mut all = got;
    let mut block = 1;
    client.ack(block);
    while all.len().is_multiple_of(512) {
        match client.receive() {
            // After a pause of the test it comes again.
            Packet::Data { block: last, .. } if last == block => {}
            Packet::Data { block: next, bytes } => {
                block += 1;
                assert_eq!(next, block);
                all.extend(bytes);
                client.ack(block);
            }
            other => panic!("DATA expected, not {other:?}"),
        }
    }
    assert_same(&all, bytes);
}

/// The second block follows the first ACK at once and is the last: a pause of this process between two ACKs costs no
/// client its slot.
const TWO_BLOCKS: usize = 600;

#[test]
fn those_who_wait_get_no_packet_and_go_in_order() {
    let (_root, bytes, server) = serving(TWO_BLOCKS, &["-n", "1"]);
    let mut first = running(server.address());
    let mut queue: Vec<Client> = (0..5).map(|_| waiting(server.address())).collect();
    // Their repeats come in another order and change nothing.
    for client in queue.iter().rev() {
        client.request(&Wish::octet("file"));
    }
    after_a_miss(server.address());
    queue.iter_mut().for_each(Client::expect_nothing_yet);

    finish(&mut first, bytes[..512].to_vec(), &bytes);
    for next in 0..queue.len() {
        let got = queue[next].expect_data(1);
        after_a_miss(server.address());
        queue[next + 1..]
            .iter_mut()
            .for_each(Client::expect_nothing_yet);
        finish(&mut queue[next], got, &bytes);
    }
    server.wait_for_lines("complete", 6, |line| line.contains("\"file\": complete"));
}

#[test]
fn misses_and_uploads_are_answered_while_full() {
    let (_root, _, server) = serving(TWO_BLOCKS, &["-n", "1"]);
    let _first = running(server.address());
    let mut second = waiting(server.address());
    for _ in 0..20 {
        after_a_miss(server.address());
    }
    let mut upload = Client::new(server.address());
    upload.send_to_server(&crate::packet::write_request(b"file", "octet"));
    upload.expect_error(2);
    second.expect_nothing_yet();
}

#[test]
fn repeats_of_a_waiting_client_start_one_transfer() {
    let (_root, bytes, server) = serving(TWO_BLOCKS, &["-n", "1"]);
    let mut first = running(server.address());
    let mut second = waiting(server.address());
    for _ in 0..9 {
        second.request(&Wish::octet("file"));
    }
    let mut third = waiting(server.address());
    after_a_miss(server.address());

    finish(&mut first, bytes[..512].to_vec(), &bytes);
    let got = second.expect_data(1);
    finish(&mut second, got, &bytes);
    // Were there a second entry for the second client, it would come before the third.
    let got = third.expect_data(1);
    finish(&mut third, got, &bytes);
    let port = format!(":{} ", second.port());
    server.wait_for_lines("complete", 3, |line| line.contains(": complete"));
    assert_eq!(server.lines_with(&port).len(), 1);
    second.expect_nothing_yet();
}

/// Seen in other servers: five transfers for five equal requests. The client would notice a second port.
#[test]
fn five_transfers_for_five_equal_requests() {
    let (_root, bytes, server) = serving(TWO_BLOCKS, &["-n", "8"]);
    let mut client = Client::new(server.address());
    for _ in 0..5 {
        client.request(&Wish::octet("file"));
    }
    let download = client
        .complete(Download::new(&Wish::octet("file")))
        .unwrap();
    assert_same(&download.bytes, &bytes);
    server.wait_for_log(&["\"file\": complete"]);
    after_a_miss(server.address());
    assert_eq!(server.lines_with("\"file\"").len(), 1);
    client.expect_nothing_yet();
}

#[test]
fn a_client_that_closed_its_port_frees_its_slot_at_once() {
    let (_root, bytes, server) = serving(2_000, &["-n", "1"]);
    let first = running(server.address());
    let mut second = waiting(server.address());
    after_a_miss(server.address());
    // The next block finds a closed port.
    first.ack(1);
    drop(first);
    let got = second
        .receive_within(Duration::from_secs(3))
        .expect("the slot, long before a timeout");
    server.wait_for_log(&["client closed its port"]);
    finish(&mut second, got[4..].to_vec(), &bytes);
}

#[test]
fn clients_that_closed_their_ports_while_waiting_hold_nobody_up() {
    let (_root, bytes, server) = serving(TWO_BLOCKS, &["-n", "1"]);
    let mut first = running(server.address());
    (0..20).for_each(|_| drop(waiting(server.address())));
    let mut last = waiting(server.address());
    after_a_miss(server.address());
    finish(&mut first, bytes[..512].to_vec(), &bytes);
    let got = last
        .receive_within(Duration::from_secs(5))
        .expect("the slot, long before a timeout");
    finish(&mut last, got[4..].to_vec(), &bytes);
}

#[test]
fn an_error_of_the_client_frees_its_slot_at_once() {
    let (_root, bytes, server) = serving(TWO_BLOCKS, &["-n", "1"]);
    for code in [0, 3, 8] {
        let first = running(server.address());
        let mut second = waiting(server.address());
        first.send(&crate::packet::error(code, "stop"));
        let got = second
            .receive_within(Duration::from_secs(3))
            .expect("the slot, long before a timeout");
        finish(&mut second, got[4..].to_vec(), &bytes);
    }
    server.wait_for_log(&["client error 3"]);
}

/// LPXELINUX uses one port for a whole boot and does not always acknowledge the last block.
#[test]
fn another_file_from_the_same_port_ends_the_old_transfer() {
    let (root, _) = Root::with_file(TWO_BLOCKS);
    let other = root.write("other", 300);
    let server = Server::with(root.path(), &["-n", "1"]);
    let mut client = running(server.address());
    client.forget_tid();
    client.request(&Wish::octet("other"));
    let got = client
        .receive_within(Duration::from_secs(3))
        .expect("the slot, long before a timeout");
    assert_same(&got[4..], &other);
    client.ack(1);
    server.wait_for_log(&["\"file\"", "client moved on"]);
    server.wait_for_log(&["\"other\": complete"]);
}

/// A machine that was switched off and on again may ask from the same port.
#[test]
fn a_reboot_with_the_same_port_starts_again() {
    let (_root, bytes, server) = serving(2_000, &["-n", "1"]);
    let mut client = running(server.address());
    client.ack(1);
    client.expect_data(2);
    client.request(&Wish::octet("file"));
    // Nothing acknowledges block 2, so that was no copy: a second transfer answers.
    let got = loop {
        let got = client.receive_from_anywhere();
        if got[2..4] == [0, 1] {
            break got;
        }
        assert_eq!(got[2..4], [0, 2]);
    };
    finish(&mut client, got[4..].to_vec(), &bytes);
    server.wait_for_log(&["client restarted"]);
}

#[test]
fn the_queue_has_a_bound_and_is_silent_past_it() {
    let (_root, bytes, server) = serving(TWO_BLOCKS, &["-n", "1", "-q", "2"]);
    let mut first = running(server.address());
    let mut queue: Vec<Client> = (0..4).map(|_| waiting(server.address())).collect();
    after_a_miss(server.address());
    finish(&mut first, bytes[..512].to_vec(), &bytes);
    for client in &mut queue[..2] {
        let got = client.expect_data(1);
        finish(client, got, &bytes);
    }
    after_a_miss(server.address());
    queue[2..].iter_mut().for_each(Client::expect_nothing_yet);
    // There is room now.
    queue[3].request(&Wish::octet("file"));
    let got = queue[3].expect_data(1);
    finish(&mut queue[3], got, &bytes);
}

/// Several machines behind one address, as a router with address translation has it. Firmware may ask twice within
/// milliseconds; that does not mean that it asks from another port after the next few.
#[test]
fn several_clients_behind_one_address_all_have_their_turn() {
    let (_root, bytes, server) = serving(TWO_BLOCKS, &["-n", "1"]);
    let mut first = running(server.address());
    let mut queue: Vec<Client> = Vec::new();
    for _ in 0..4 {
        let client = Client::new(server.address()).asking(&Wish::octet("file"));
        after_a_miss(server.address());
        client.request(&Wish::octet("file"));
        after_a_miss(server.address());
        queue.push(client);
    }
    finish(&mut first, bytes[..512].to_vec(), &bytes);
    for client in &mut queue {
        let got = client.expect_data(1);
        finish(client, got, &bytes);
    }
}
