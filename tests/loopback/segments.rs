//! Windows leave as one buffer that the kernel cuts up. Where it does not, nothing is lost and nothing comes twice but what
//! a timer repeats on purpose.

use crate::client::fetch;
use crate::download::Wish;
use crate::machine::{in_own_network, run};
use crate::root::assert_same;
use crate::server::{Server, serving};

#[test]
fn blocks_that_travel_in_fragments_leave_one_by_one() {
    in_own_network(|| {
        run("ip", "link set lo mtu 1500");
        let (_root, bytes, server) = serving(1_000_000, &["--no-mtu-clamp"]);
        for (blksize, windowsize) in [(8192, 4), (1472, 16), (1468, 16), (1468, 64), (512, 64)] {
            fetch_window(&server, &bytes, blksize, windowsize);
        }
    });
}

#[test]
fn windows_of_the_largest_blocks() {
    let (_root, bytes, server) = serving(3_000_000, &[]);
    for blksize in [16_000, 32_000, 65_464] {
        fetch_window(&server, &bytes, blksize, 2);
    }
}

fn fetch_window(server: &Server, bytes: &[u8], blksize: usize, windowsize: u16) {
    let lines = server.log_lines().len();
    let wish = Wish::octet("file")
        .option("blksize", blksize)
        .option("windowsize", windowsize);
    let download = fetch(server.address(), &wish).unwrap();
    assert_same(&download.bytes, bytes);
    let granted = download.option("windowsize").map(str::to_owned);
    assert_eq!(granted, Some(windowsize.to_string()), "blksize {blksize}");
    let told = server.wait_for_lines("the end", lines + 1, |_| true);
    let repeats = told.last().unwrap().split(' ').rev().nth(1).unwrap();
    let repeats: u64 = repeats.parse().unwrap();
    assert!(
        download.duplicates <= repeats,
        "blksize {blksize}: {} came twice, {repeats} were repeated",
        download.duplicates
    );
}
