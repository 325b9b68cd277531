//! Who waits while the helper looks something up: requests, which are handed to the server again, and clients of the
//! queue.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::moment::Moment;
use crate::name::FileNameBuf;
use crate::names::map::Question;
use crate::server::{Awaited, Local};
use crate::wire::Peer;

/// All that is being looked up.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    under_way: HashMap<Sought, Lookup>,
    /// Each with how many came before it, where it arrived, and when.
    requests: BTreeMap<Place, (usize, Local, Moment)>,
    /// Lookups and requests so far.
    arrivals: usize,
}

/// The client, the number of the lookup, and the datagram.
type Place = (Peer, usize, Box<[u8]>);

/// What is looked up.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Sought {
    /// A file.
    File(FileNameBuf),
    /// Where an upload may go.
    Place(FileNameBuf),
    /// What a requested name comes to.
    Name(Question),
    /// Where the paths of the roots lead.
    Roots,
}

/// A lookup, and the clients of the queue that wait for it; some may be gone.
#[derive(Debug)]
struct Lookup {
    number: Awaited,
    clients: Vec<usize>,
}

/// A request as it came.
#[derive(Debug)]
pub(super) struct Request {
    pub peer: Peer,
    /// Where it arrived.
    pub local: Local,
    pub datagram: Box<[u8]>,
    /// When.
    pub at: Moment,
}

/// Those who waited for what was looked up.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub requests: Vec<Request>,
    pub clients: Vec<usize>,
}

impl Lookups {
    /// Awaits a lookup, for a client of the queue or for a request. If it is not under way, `begin` begins it; `None` if
    /// that fails.
    pub(super) fn await_for(
        &mut self,
        client: Option<usize>,
        sought: Sought,
        begin: impl FnOnce(&Sought) -> bool,
    ) -> Option<Awaited> {
        let lookup = match self.under_way.entry(sought) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) if begin(entry.key()) => {
                self.arrivals += 1;
                entry.insert(Lookup {
                    number: Awaited(self.arrivals),
                    clients: Vec::new(),
                })
            }
            Entry::Vacant(_) => return None,
        };
        if let Some(client) = client
            && lookup.clients.len() < WAITING_MAX
            && !lookup.clients.contains(&client)
        {
            lookup.clients.push(client);
        }
        Some(lookup.number)
    }

    /// A request waits; if it is a repeat, at its old place. Past the bound it is forgotten: its client repeats it.
    pub(super) fn add(&mut self, awaited: Awaited, request: Request) {
        let (local, at) = (request.local, request.at);
        let place = (request.peer, awaited.0, request.datagram);
        let known = self.requests.get(&place).map(|&(arrival, ..)| arrival);
        if known.is_none() && self.requests.len() >= WAITING_MAX {
            return;
        }
        self.arrivals += 1;
        let arrival = known.unwrap_or(self.arrivals);
        self.requests.insert(place, (arrival, local, at));
    }

    /// A later request of `peer` was answered: those before it count no more.
    pub(super) fn forget(&mut self, peer: Peer) {
        let first = (peer, 0, Box::default());
        while let Some((place, _)) = self.requests.range(&first..).next()
            && place.0 == peer
        {
            let place = place.clone();
            self.requests.remove(&place);
        }
    }

    /// It was looked up. Returns who waited for it, in the order in which they came, but for requests that are too old.
    pub(super) fn end(&mut self, now: Moment, sought: &Sought) -> Found {
        let Some(Lookup { number, clients }) = self.under_way.remove(sought) else {
            return Found::default();
        };
        let places = self.requests.keys().filter(|(_, of, _)| *of == number.0);
        let mut requests = Vec::new();
        for place in places.cloned().collect::<Vec<_>>() {
            if let Some((arrival, local, at)) = self.requests.remove(&place)
                && now.since(at) < REQUEST_KEPT
            {
                let (peer, _, datagram) = place;
                let request = Request {
                    peer,
                    local,
                    datagram,
                    at,
                };
                requests.push((arrival, request));
            }
        }
        requests.sort_unstable_by_key(|(arrival, _)| *arrival);
        Found {
            requests: requests.into_iter().map(|(_, request)| request).collect(),
            clients,
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

    fn request(port: u16, at: Moment) -> Request {
        let address = Ipv4Addr::LOCALHOST.into();
        Request {
            peer: peer(port),
            local: Local {
                address,
                interface: 0,
                listener: 0,
                is_broadcast: false,
            },
            datagram: [1].into(),
            at,
        }
    }

    fn begin(lookups: &mut Lookups, client: Option<usize>, text: &str) -> Awaited {
        let awaited = lookups.await_for(client, name(text), |_| true);
        awaited.expect("it was begun")
    }

    fn ports(found: &Found) -> Vec<u16> {
        let requests = found.requests.iter();
        requests.map(|request| request.peer.port).collect()
    }

    #[test]
    fn those_who_wait_are_handed_back_in_order_once_and_not_too_late() {
        let mut lookups = Lookups::default();
        let now = Moment::START + REQUEST_KEPT;
        let [one, other] = ["one", "other"].map(|text| begin(&mut lookups, None, text));
        assert_ne!(one, other);
        assert_eq!(lookups.await_for(None, name("none"), |_| false), None);
        for port in [3, 5, 1, 2, 1] {
            lookups.add(one, request(port, now));
        }
        lookups.add(other, request(5, now));
        lookups.add(one, request(4, Moment::START));
        lookups.forget(peer(2));
        for _ in 0..2 {
            assert_eq!(begin(&mut lookups, Some(7), "one"), one);
        }
        let found = lookups.end(now, &name("one"));
        assert_eq!(ports(&found), [3, 5, 1]);
        assert_eq!(found.clients, [7]);
        assert_eq!(ports(&lookups.end(now, &name("one"))), [0; 0]);
        assert_eq!(ports(&lookups.end(now, &name("other"))), [5]);
        assert!(lookups.requests.is_empty() && lookups.under_way.is_empty());
    }

    /// Where the paths of the roots lead is awaited by requests for several files.
    #[test]
    fn another_request_of_a_client_takes_no_place_of_its_first() {
        let mut lookups = Lookups::default();
        let now = Moment::START;
        let awaited = lookups.await_for(None, Sought::Roots, |_| true);
        let awaited = awaited.expect("it was begun");
        for number in [7, 1, 7, 3, 1] {
            let mut request = request(1, now);
            request.datagram = [number].into();
            lookups.add(awaited, request);
        }
        lookups.add(awaited, request(2, now));
        lookups.forget(peer(2));
        let found = lookups.end(now, &Sought::Roots);
        let numbers = found.requests.iter().map(|it| it.datagram[0]);
        assert_eq!(Vec::from_iter(numbers), [7, 1, 3]);
    }

    /// A client that asks for something else in between, again and again, does not fill the memory while a disk hangs.
    #[test]
    fn what_waits_has_a_bound() {
        let mut lookups = Lookups::default();
        let awaited = begin(&mut lookups, None, "file");
        let now = Moment::START;
        for _ in 0..2 * WAITING_MAX {
            lookups.add(awaited, request(1, now));
            lookups.forget(peer(1));
        }
        assert!(lookups.requests.is_empty());
        let most = u16::try_from(WAITING_MAX).expect("few enough for this test");
        for port in 1..=most + 1 {
            lookups.add(awaited, request(port, now));
            begin(&mut lookups, Some(port.into()), "file");
        }
        let found = lookups.end(now, &name("file"));
        assert_eq!(ports(&found), Vec::from_iter(1..=most));
        assert_eq!(found.clients.len(), WAITING_MAX);
    }
}
