//! The two halves of the sandbox, as far as this kernel and this processor have them.

pub use super::landlock::confine as confine_files;
pub use super::seccomp::confine as confine_calls;
