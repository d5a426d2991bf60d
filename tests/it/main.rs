//! The integration tests: ONE binary, a file a subject, over real sockets.

mod app;
mod architecture;
mod auth;
mod batch;
mod bodies;
mod cancel;
mod deadline;
mod devices;
mod drain;
mod explain_image;
mod explain_text;
mod inside;
mod limits;
mod logs;
mod models_methods;
mod openapi;
mod panics;
mod parity;
mod probes;
mod problems;
mod tasks;
