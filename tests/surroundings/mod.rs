//! What the real programs are tried in: directories to serve, the server as a process, and the machine below it.
//!
//! Each suite includes this module by its path.

#![allow(dead_code, reason = "no suite needs all of it")]

use std::time::Duration;

pub(crate) mod machine;
pub(crate) mod root;
pub(crate) mod server;

/// Far longer than anything takes here; only a fault makes a test wait for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
