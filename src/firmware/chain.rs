//! What a boot consists of: requests, one after the other.
//!
//! The built-in chains hold the requests, misses and sizes that were measured with real firmware.
//! Size probes are not steps: whether a file is probed first is the firmware's way
//! (`profile::Probe`).

use std::sync::Arc;
use std::time::Duration;

use super::Kind;

/// The requests of one boot, in order. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Chain {
    steps: Arc<[Step]>,
}

/// One file that a machine asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// The name in the request.
    pub name: Box<str>,
    /// The file's length in bytes; `None` where the server has no such file.
    pub size: Option<u64>,
    /// What the machine does without it.
    pub role: Role,
    /// How long the machine is busy before it asks, at least; at most half as long again.
    pub think: Duration,
    /// The program that fetches it, where that is not the machine's own kind.
    pub by: Option<Kind>,
}

/// What a machine does when it cannot get a file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// The boot fails.
    Required,
    /// It goes on with the next step.
    Optional,
    /// One of several names that follow each other, tried until one is there; the others are skipped.
    /// Without any of them the boot fails.
    Search,
}

impl Chain {
    /// A boot of these steps.
    ///
    /// # Panics
    /// If a name is longer than [`NAME_MAX`].
    pub fn new(steps: Vec<Step>) -> Chain {
        assert!(steps.iter().all(|step| step.name.len() <= NAME_MAX));
        Chain {
            steps: steps.into(),
        }
    }

    /// One file, and nothing else.
    pub fn one_file(name: &str, size: u64) -> Chain {
        Chain::new(vec![Step::file(name, size)])
    }

    /// The steps in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The same requests for files that are `divisor` times smaller, rounded up.
    pub fn scaled(&self, divisor: u64) -> Chain {
        let smaller = |step: &Step| Step {
            size: step.size.map(|size| size.div_ceil(divisor)),
            ..step.clone()
        };
        Chain::new(self.steps.iter().map(smaller).collect())
    }

    /// Bytes of all files that are there.
    pub fn bytes(&self) -> u64 {
        self.steps.iter().filter_map(|step| step.size).sum()
    }
}

impl Step {
    /// A file that is there and needed, asked for at once.
    pub fn file(name: &str, size: u64) -> Step {
        Step {
            name: name.into(),
            size: Some(size),
            role: Role::Required,
            think: Duration::ZERO,
            by: None,
        }
    }

    /// A name that the server does not have, and that the machine does without.
    pub fn miss(name: &str) -> Step {
        Step {
            size: None,
            role: Role::Optional,
            ..Step::file(name, 0)
        }
    }

    /// The same, as one of several names to try.
    #[must_use]
    pub fn searched(self) -> Step {
        Step {
            role: Role::Search,
            ..self
        }
    }

    /// The same, after a pause.
    #[must_use]
    pub fn after(self, think: Duration) -> Step {
        Step { think, ..self }
    }

    /// The same, fetched by this program.
    #[must_use]
    pub fn by(self, kind: Kind) -> Step {
        Step {
            by: Some(kind),
            ..self
        }
    }
}

/// The longest name that fits a machine's request.
pub const NAME_MAX: usize = 128;
