//! Nothing is allocated for a packet: the whole daemon runs in a thread of this process, under an allocator that
//! counts what that thread asks for.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{fs, thread};

use ripple_tftpd::config::{Settings, UserName};
use ripple_tftpd::daemon;

struct Counting;

/// What the daemon's thread asked for, in calls.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static IS_DAEMON: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    if IS_DAEMON.get() {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
    }
}

// SAFETY: all is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn ten_thousand_blocks_allocate_nothing() {
    let root = std::env::temp_dir().join(format!("tftpd-allocations-{}", std::process::id()));
    fs::create_dir_all(&root).expect("a directory");
    fs::write(root.join("file"), vec![7; 512 * 12_000]).expect("a file");
    let server = start_daemon(root.clone());
    for windowsize in [1, 16, 64] {
        let mut client = Client::ask(server, windowsize);
        let before_all = ALLOCATIONS.load(Ordering::SeqCst);
        assert!(before_all > 0, "a birth allocates, so the counter counts");
        client.fetch_blocks(1_000);
        let before = ALLOCATIONS.load(Ordering::SeqCst);
        client.fetch_blocks(10_000);
        let after = ALLOCATIONS.load(Ordering::SeqCst);
        assert_eq!(after - before, 0, "with a window of {windowsize}");
    }
    fs::remove_dir_all(&root).expect("clean up");
}

/// Serves in a thread that ends with the process.
fn start_daemon(root: PathBuf) -> SocketAddr {
    let probe = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let address = probe.local_addr().expect("an address");
    drop(probe);
    // It runs in this process, which is neither to become another user nor to be locked in.
    let is_root = nix::unistd::Uid::effective().is_root();
    let settings = Settings {
        listen: vec![ripple_tftpd::config::Listen::At(address)],
        user: is_root.then(|| UserName {
            user: "root".into(),
            group: None,
        }),
        sandbox: false,
        ..Settings::from(root)
    };
    thread::spawn(move || {
        IS_DAEMON.set(true);
        if let Err(failure) = daemon::run(settings, &mut daemon::Start::new("tftpd")) {
            panic!("{failure}");
        }
    });
    address
}

struct Client {
    socket: UdpSocket,
    windowsize: u64,
    received: u64,
}

impl Client {
    /// Asks until it is answered, and takes the options.
    fn ask(server: SocketAddr, windowsize: u64) -> Client {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .expect("a timeout");
        let request = format!("\0\x01file\0octet\0windowsize\0{windowsize}\0tsize\x000\0");
        let mut buffer = [0; 600];
        let transfer = (0..200).find_map(|_| {
            socket.send_to(request.as_bytes(), server).expect("a send");
            let (length, from) = socket.recv_from(&mut buffer).ok()?;
            assert_eq!(buffer[..2], [0, 6], "{:?}", &buffer[..length]);
            Some(from)
        });
        socket
            .connect(transfer.expect("an answer"))
            .expect("a connection");
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a timeout");
        Client {
            socket,
            windowsize,
            received: 0,
        }
    }

    /// Acknowledges what came before, and takes part until this many more have come.
    fn fetch_blocks(&mut self, count: u64) {
        let mut buffer = [0; 600];
        for taken in 0..count {
            if taken == 0 || self.received.is_multiple_of(self.windowsize) {
                let [.., high, low] = self.received.to_be_bytes();
                self.socket.send(&[0, 4, high, low]).expect("a send");
            }
            loop {
                let length = self.socket.recv(&mut buffer).expect("a block in time");
                let [.., high, low] = (self.received + 1).to_be_bytes();
                if buffer[..4] == [0, 3, high, low] {
                    assert_eq!(length, 516);
                    break;
                }
            }
            self.received += 1;
        }
    }
}
