//! Who waits while the helper looks a name up: requests, which are handed to the server again, and clients of the queue.

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::time::Duration;

use slab::Slab;

use crate::moment::Moment;
use crate::name::FileNameBuf;
use crate::os::resolve::Question;
use crate::server::{Awaited, Local};
use crate::wire::Peer;

/// Names that are being looked up.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    by_name: HashMap<Sought, usize>,
    /// For each name, those of the queue of the server who wait, by number; some may be gone.
    clients: Slab<Vec<usize>>,
    /// Requests that wait, in the order in which they came.
    requests: BTreeMap<Place, (Peer, Request)>,
    /// The requests of each peer, each for another name.
    of_peer: HashMap<Peer, Vec<Place>>,
    /// Requests that ever waited.
    arrivals: u64,
}

/// What is looked up.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Sought {
    /// A file.
    File(FileNameBuf),
    /// What a requested name comes to.
    Name(Question),
}

/// The number of the name that a request waits for, and how many came before.
type Place = (usize, u64);

/// Those who waited for a name that was looked up.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub requests: Vec<(Peer, Request)>,
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
    /// The lookup of this, if one is under way.
    pub(super) fn under_way(&self, sought: &Sought) -> Option<Awaited> {
        self.by_name.get(sought).copied().map(Awaited)
    }

    /// One more name is being looked up.
    pub(super) fn begin(&mut self, sought: Sought) -> Awaited {
        let number = self.clients.insert(Vec::new());
        self.by_name.insert(sought, number);
        Awaited(number)
    }

    /// A client of the queue waits, too.
    pub(super) fn add_client(&mut self, awaited: Awaited, client: usize) {
        if let Some(clients) = self.clients.get_mut(awaited.0)
            && clients.len() < WAITING_MAX
            && !clients.contains(&client)
        {
            clients.push(client);
        }
    }

    /// A request waits. Past the bound it is forgotten: its client repeats it.
    pub(super) fn add_request(&mut self, awaited: Awaited, peer: Peer, request: Request) {
        let of_peer = self.of_peer.get(&peer);
        let known = of_peer.and_then(|all| all.iter().find(|(name, _)| *name == awaited.0));
        let place = match known {
            Some(&place) => place,
            None if self.requests.len() >= WAITING_MAX => return,
            None => {
                self.arrivals += 1;
                let place = (awaited.0, self.arrivals);
                self.of_peer.entry(peer).or_default().push(place);
                place
            }
        };
        self.requests.insert(place, (peer, request));
    }

    /// A later request of `peer` was answered: those before it count no more.
    pub(super) fn forget(&mut self, peer: Peer) {
        if self.requests.is_empty() {
            return;
        }
        for place in self.of_peer.remove(&peer).unwrap_or_default() {
            self.requests.remove(&place);
        }
    }

    /// It was looked up. Returns who waited for it, but for requests that are too old.
    pub(super) fn end(&mut self, now: Moment, sought: &Sought) -> Found {
        let Some(number) = self.by_name.remove(sought) else {
            return Found::default();
        };
        let clients = mem::take(&mut self.clients[number]);
        self.clients.remove(number);
        let mut requests = Vec::new();
        let all = (number, 0)..=(number, u64::MAX);
        while let Some((&place, _)) = self.requests.range(all.clone()).next() {
            let Some((peer, request)) = self.requests.remove(&place) else {
                break;
            };
            self.part(peer, place);
            if now.since(request.at) < REQUEST_KEPT {
                requests.push((peer, request));
            }
        }
        Found { requests, clients }
    }

    fn part(&mut self, peer: Peer, place: Place) {
        if let Some(of_peer) = self.of_peer.get_mut(&peer) {
            of_peer.retain(|other| *other != place);
            if of_peer.is_empty() {
                self.of_peer.remove(&peer);
            }
        }
    }
}

/// Requests that wait, and clients that wait for one name.
const WAITING_MAX: usize = 4096;

/// A client that did not repeat its request for this long has given up.
const REQUEST_KEPT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::name::{FileName, NAME_MAX, RootPrefixes};

    fn name(text: &str) -> Sought {
        let mut buffer = [0; NAME_MAX];
        let name = FileName::new(text.as_bytes(), &RootPrefixes::default(), &mut buffer);
        Sought::File(name.expect("a safe name").to_owned())
    }

    fn peer(port: u16) -> Peer {
        Peer::from(std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    fn request(at: Moment) -> Request {
        let address = Ipv4Addr::LOCALHOST.into();
        Request {
            local: Local {
                address,
                interface: 0,
                listener: 0,
                is_everybody: false,
            },
            datagram: Box::default(),
            at,
        }
    }

    fn ports(found: &Found) -> Vec<u16> {
        found.requests.iter().map(|(peer, _)| peer.port).collect()
    }

    #[test]
    fn those_who_wait_are_handed_back_in_order_once_and_not_too_late() {
        let mut lookups = Lookups::default();
        let now = Moment::START + REQUEST_KEPT;
        let [one, other] = ["one", "other"].map(|text| {
            let awaited = lookups.begin(name(text));
            assert_eq!(lookups.under_way(&name(text)), Some(awaited));
            awaited
        });
        for port in [3, 1, 2, 1] {
            lookups.add_request(one, peer(port), request(now));
        }
        lookups.add_request(other, peer(1), request(now));
        lookups.add_request(one, peer(4), request(Moment::START));
        lookups.forget(peer(2));
        lookups.add_client(one, 7);
        lookups.add_client(one, 7);
        let found = lookups.end(now, &name("one"));
        assert_eq!(ports(&found), [3, 1]);
        assert_eq!(found.clients, [7]);
        assert_eq!(ports(&lookups.end(now, &name("one"))), [0; 0]);
        assert_eq!(ports(&lookups.end(now, &name("other"))), [1]);
        assert!(lookups.of_peer.is_empty() && lookups.clients.is_empty());
    }

    /// A client that asks for something else in between, again and again, does not fill the memory while a disk hangs.
    #[test]
    fn what_waits_has_a_bound() {
        let mut lookups = Lookups::default();
        let awaited = lookups.begin(name("file"));
        let now = Moment::START;
        for _ in 0..2 * WAITING_MAX {
            lookups.add_request(awaited, peer(1), request(now));
            lookups.forget(peer(1));
        }
        assert!(lookups.requests.is_empty() && lookups.of_peer.is_empty());
        let most = u16::try_from(WAITING_MAX).expect("few enough for this test");
        for port in 1..=most + 1 {
            lookups.add_request(awaited, peer(port), request(now));
            lookups.add_client(awaited, port.into());
        }
        let found = lookups.end(now, &name("file"));
        assert_eq!(ports(&found), Vec::from_iter(1..=most));
        assert_eq!(found.clients.len(), WAITING_MAX);
    }
}
