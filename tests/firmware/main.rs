//! Each kind of simulated firmware, held against what was measured with the real one: what it asks and
//! when, how long it waits, and how it takes copies, gaps, other ports, errors and the wrap.
//!
//! The figures here are typed from the measurements, never taken from the profiles under test.

#![allow(clippy::unwrap_used)]

mod boots;
mod dialogue;
mod grub;
mod ipxe;
mod loaders;
mod pxelinux;
mod raspberry_pi;
mod rom;
mod tools;
mod uboot;
mod uefi;
mod windows;
