//! Names as sites spell them: the rules of a map file, and the expressions in them.
//!
//! All of it is text: nothing here looks at a file system. Read `map`, then `regex`.

pub mod hardware;
pub mod map;
pub mod regex;
