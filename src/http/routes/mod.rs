//! One file a group of routes; each handler carries its entry of the OpenAPI document.

pub mod batch;
mod events;
pub mod explain;
pub mod lists;
pub mod meta;
pub mod probes;
