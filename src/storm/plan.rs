//! Who boots, when, and from which address: decided by the seed before anything is sent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ripple_tftpd::firmware::Kind;
use ripple_tftpd::firmware::random::Random;
use ripple_tftpd::moment::Moment;

use crate::options::Order;
use crate::values::Network;

/// One machine of the plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Planned {
    pub(crate) kind: Kind,
    pub(crate) address: IpAddr,
    /// When it is switched on.
    pub(crate) on_at: Moment,
    pub(crate) seed: u64,
}

/// The machines of an order. Kinds come mixed, as in a rack.
pub(crate) fn machines(order: &Order) -> Vec<Planned> {
    let mut random = Random::stream(order.seed, 1);
    let mut kinds = order.mix.kinds(order.clients);
    for place in (1..kinds.len()).rev() {
        let other = random.below(place as u64 + 1);
        kinds.swap(place, usize::try_from(other).unwrap_or(0));
    }
    let span = u64::try_from(order.arrival.as_micros()).unwrap_or(u64::MAX);
    let planned = |(place, kind): (usize, Kind)| Planned {
        kind,
        address: address(order.from, order.server, place),
        on_at: Moment::START + Duration::from_micros(random.below(span)),
        seed: random.next(),
    };
    kinds.into_iter().enumerate().map(planned).collect()
}

/// The address of the machine with this number.
pub(crate) fn address(from: Option<Network>, server: SocketAddr, number: usize) -> IpAddr {
    let network = from.or_else(|| Network::usual_for(server));
    network.map_or_else(
        || unspecified(server),
        |network| network.host(number as u128, server.ip()),
    )
}

/// Where the system chooses the address.
fn unspecified(server: SocketAddr) -> IpAddr {
    if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    }
}
