//! The hub against a model, and its parts against simple ones.

mod matcher;
mod model;
mod overload;
mod stats;
mod unreadable;
