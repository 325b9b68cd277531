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
    /// The last request of each peer that waits, and for which name.
    requests: HashMap<Peer, (FileNameBuf, Request)>,
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
        if self.requests.len() < WAITING_MAX
            && let Some(waiting) = self.by_name.get_mut(&name)
            && waiting.peers.len() < WAITING_MAX
        {
            waiting.peers.push(peer);
            self.requests.insert(peer, (name, request));
        }
    }

    /// Another request of `peer` has come: only the last one counts.
    pub(super) fn forget(&mut self, peer: Peer) {
        if !self.requests.is_empty() {
            self.requests.remove(&peer);
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
        let (wanted, _) = self.requests.get(&peer)?;
        if wanted != name {
            return None;
        }
        let (_, request) = self.requests.remove(&peer)?;
        (now.since(request.at) < REQUEST_KEPT).then_some(request)
    }
}

/// Requests that wait, and clients that wait for one name.
const WAITING_MAX: usize = 4096;

/// Whoever did not repeat a request for so long has given up.
const REQUEST_KEPT: std::time::Duration = std::time::Duration::from_secs(10);
