//! Strings to ids and back, and how good strings are.

pub mod metrics;
