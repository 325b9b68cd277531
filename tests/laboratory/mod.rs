//! The laboratory: the server of production in virtual time, in a world that keeps books of its own. No socket,
//! no clock, no file.
//!
//! A [`World`] has files that are only sizes, and faults that a test may choose. It is the only thing in the tests
//! that the server drives through its trait `Io`; what becomes of a packet that leaves is the affair of a [`Site`],
//! one for each suite: it is remembered, travels over simulated cables, or fails at random. A [`Lab`] is a server
//! in a world, with the turns of the daemon's loop.
//!
//! Each suite includes this module by its path.

#![allow(dead_code, unused_imports, reason = "no suite needs all of it")]

pub(crate) mod choices;
mod lab;
pub(crate) mod outcomes;
pub(crate) mod packets;
pub(crate) mod parallel;
mod site;
mod world;

pub(crate) use lab::Lab;
pub(crate) use site::{Datagram, File, LOCAL, Site, Socket, Stored, Stream, host, older};
pub(crate) use world::World;
