//! Windows leave as one buffer that the kernel cuts up. Where it does not, nothing is lost and nothing comes twice.

use crate::client::fetch;
use crate::download::Wish;
use crate::machine::{in_own_network, run};
use crate::root::{Root, assert_same};
use crate::server::Server;

#[test]
fn blocks_that_travel_in_fragments_leave_one_by_one() {
    in_own_network(|| {
        run("ip", "link set lo mtu 1500");
        let (root, bytes) = Root::with_file(1_000_000);
        let server = Server::with(root.path(), &["--no-mtu-clamp"]);
        for (blksize, windowsize) in [(8192, 4), (1472, 16), (1468, 16), (1468, 64), (8, 64)] {
            let wish = Wish::octet("file")
                .option("blksize", blksize)
                .option("windowsize", windowsize);
            let download = fetch(server.address(), &wish).unwrap();
            assert_same(&download.bytes, &bytes);
            assert_eq!(download.duplicates, 0, "blksize {blksize}");
            let granted = download.option("windowsize").map(str::to_owned);
            assert_eq!(granted, Some(windowsize.to_string()), "blksize {blksize}");
        }
    });
}

#[test]
fn windows_of_the_largest_blocks() {
    let (root, bytes) = Root::with_file(3_000_000);
    let server = Server::start(root.path());
    for blksize in [16_000, 32_000, 65_464] {
        let wish = Wish::octet("file")
            .option("blksize", blksize)
            .option("windowsize", 3);
        let download = fetch(server.address(), &wish).unwrap();
        assert_same(&download.bytes, &bytes);
        assert_eq!(download.duplicates, 0, "blksize {blksize}");
    }
}
