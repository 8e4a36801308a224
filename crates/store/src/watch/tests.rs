//! The hub against a model, and its parts against simple ones.

mod large;
mod matcher;
mod model;
mod overload;
mod stats;
mod unreadable;
