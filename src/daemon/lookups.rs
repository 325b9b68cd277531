//! Who waits while the helper looks a name up: requests, which are handed to the server again, and clients of the queue.

use std::collections::HashMap;

use crate::moment::Moment;
use crate::name::{FileName, FileNameBuf};
use crate::server::Local;
use crate::wire::Peer;

/// Names that are being looked up.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    by_name: HashMap<FileNameBuf, Waiting>,
    /// The requests of each peer that wait, each for another name.
    requests: HashMap<Peer, Vec<(FileNameBuf, Request)>>,
    /// How many these are in all.
    count: usize,
}

/// Those who wait for one name.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// With a request; some may have asked for something else since.
    pub peers: Vec<Peer>,
    /// In the queue of the server, by number; some may be gone.
    pub clients: Vec<usize>,
}

/// A request that waits.
#[derive(Debug)]
pub(super) struct Request {
    /// Where it arrived.
    pub local: Local,
    /// As it came.
    pub datagram: Box<[u8]>,
    /// When.
    pub at: Moment,
}

impl Lookups {
    /// Whether `name` is being looked up.
    pub(super) fn is_under_way(&self, name: FileName<'_>) -> bool {
        self.by_name.contains_key(&name.to_owned())
    }

    /// One more name is being looked up.
    pub(super) fn begin(&mut self, name: FileName<'_>) {
        self.by_name.insert(name.to_owned(), Waiting::default());
    }

    /// A client of the queue waits for `name`, too.
    pub(super) fn add_client(&mut self, name: FileName<'_>, client: usize) {
        if let Some(waiting) = self.by_name.get_mut(&name.to_owned())
            && waiting.clients.len() < WAITING_MAX
            && !waiting.clients.contains(&client)
        {
            waiting.clients.push(client);
        }
    }

    /// A request waits for `name`. Past the bound it is forgotten: its client repeats it.
    pub(super) fn add_request(&mut self, name: FileNameBuf, peer: Peer, request: Request) {
        let Some(waiting) = self.by_name.get_mut(&name) else {
            return;
        };
        let of_peer = self.requests.get_mut(&peer);
        let known = of_peer.and_then(|all| all.iter_mut().find(|(wanted, _)| *wanted == name));
        if let Some((_, repeated)) = known {
            *repeated = request;
        } else if self.count < WAITING_MAX {
            waiting.peers.push(peer);
            self.requests.entry(peer).or_default().push((name, request));
            self.count += 1;
        }
    }

    /// A later request of `peer` was answered: those before it count no more.
    pub(super) fn forget(&mut self, peer: Peer) {
        if self.count > 0 {
            self.count -= self.requests.remove(&peer).map_or(0, |all| all.len());
        }
    }

    /// `name` was looked up: returns who waited for it.
    pub(super) fn end(&mut self, name: &FileNameBuf) -> Waiting {
        self.by_name.remove(name).unwrap_or_default()
    }

    /// The request of `peer` for `name`, if it still waits and is not too old.
    pub(super) fn take_request(
        &mut self,
        now: Moment,
        peer: Peer,
        name: &FileNameBuf,
    ) -> Option<Request> {
        let of_peer = self.requests.get_mut(&peer)?;
        let place = of_peer.iter().position(|(wanted, _)| wanted == name)?;
        let (_, request) = of_peer.remove(place);
        self.count -= 1;
        if of_peer.is_empty() {
            self.requests.remove(&peer);
        }
        (now.since(request.at) < REQUEST_KEPT).then_some(request)
    }
}

/// Requests that wait, and clients that wait for one name.
const WAITING_MAX: usize = 4096;

/// Whoever did not repeat a request for so long has given up.
const REQUEST_KEPT: std::time::Duration = std::time::Duration::from_secs(10);
