//! The integration tests: ONE binary, a file a subject, over real sockets.

mod app;
mod architecture;
mod auth;
mod batch;
mod bodies;
mod cancel;
mod clip;
mod deadline;
mod devices;
mod drain;
mod events;
mod explain_image;
mod explain_text;
mod gradients;
mod limits;
mod logs;
mod models_methods;
mod openapi;
mod pages;
mod panics;
mod parity;
mod perturbation;
mod probes;
mod problems;
mod tasks;
mod windows;
